// Finds the library of GPU kernels, and the GPUs.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { packageRoot } from '../base/addonError.js';
import { LongVLMError } from '../base/errors.js';
import { fileOfPackage } from '../base/platformPackages.js';
import { wrongType, wrongValue } from '../base/validate.js';
import { binding, fromNative } from '../binding.js';

/** The device that a kernel runs on: the CPU, the first NVIDIA GPU, or the GPU with that number. */
export type Device = 'cpu' | 'cuda' | `cuda:${number}`;

export type CudaDevice = {
  /** The GPU's number, as in `cuda:0`. */
  readonly index: number;
  readonly name: string;
  /** Compute capability, such as `9.0`. */
  readonly computeCapability: string;
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** Whether it is none, but the emulation on the CPU that tests use. */
  readonly emulated: boolean;
};

/**
 * The library of GPU kernels: `LONGVLM_CUDA_LIBRARY`, else the output of `npm run build:cuda`, else that of the package
 * `@longvlm/cuda-<platform>`, which is installed on purpose.
 */
function findLibrary(): { path: string; overridden: boolean } {
  const override = process.env.LONGVLM_CUDA_LIBRARY;
  if (override) return { path: resolve(override), overridden: true };
  const name = process.platform === 'win32' ? 'longvlm_cuda.dll' : 'liblongvlm_cuda.so';
  const root = packageRoot();
  const built = root && resolve(root, 'build/cuda', name);
  if (built && existsSync(built)) return { path: built, overridden: false };
  const packaged = fileOfPackage(`@longvlm/cuda-${process.platform}-${process.arch}`, name);
  return { path: packaged ?? '', overridden: false };
}

/**
 * The NVIDIA GPUs that the kernels can use. Empty if there is no driver, or if the GPU kernels were neither
 * built (`npm run build:cuda` in the package's folder) nor installed (`@longvlm/cuda-linux-x64`).
 *
 * @throws LongVLMError `ERR_LONGVLM_CUDA` when kernels and driver exist but do not work together
 */
export function cudaDevices(): CudaDevice[] {
  const { path, overridden } = findLibrary();
  if (!existsSync(path)) {
    if (!overridden) return [];
    throw new LongVLMError('ERR_LONGVLM_CUDA', `LONGVLM_CUDA_LIBRARY names ${path}, and there is no such file.`);
  }
  try {
    return binding().cudaDevices({ library: path, needsDriver: !overridden });
  } catch (error) {
    throw fromNative(error);
  }
}

/** @internal Checks the name of a GPU and returns its number. */
export function cudaIndex(name: string, value: unknown): number {
  const expected = "'cuda' or 'cuda:N'";
  if (typeof value !== 'string') wrongType(name, expected, value);
  const match = /^cuda(?::(\d+))?$/.exec(value);
  if (match === null) wrongValue(name, expected, value);
  return Number(match[1] ?? 0);
}

/** @internal The device for host tensors: the number of a GPU, or undefined for the CPU. */
export function chosenDevice(device: unknown): number | undefined {
  if (device === undefined || device === 'auto' || device === 'cpu') return undefined;
  if (typeof device === 'string' && !/^cuda(:\d+)?$/.test(device))
    wrongValue('device', 'one of auto, cpu, cuda or cuda:N', device);
  return cudaIndex('device', device);
}

/**
 * @internal The kernels that work beside ONNX Runtime on GPU number `index`, and whether they are an emulation on the CPU, which
 * only LONGVLM_CUDA_LIBRARY can name; undefined where there are none.
 * @throws LongVLMError `ERR_LONGVLM_CUDA` when there are other GPUs, or LONGVLM_CUDA_LIBRARY names no library
 */
export function kernelsOn(index: number): { readonly library: string; readonly emulated: boolean } | undefined {
  const devices = findLibrary().overridden ? cudaDevices() : devicesIfAny();
  if (devices.length === 0) return undefined;
  return { library: cudaLibrary(index), emulated: devices[index]!.emulated };
}

/** ONNX Runtime may do without kernels that do not work. */
function devicesIfAny(): CudaDevice[] {
  try {
    return cudaDevices();
  } catch {
    return [];
  }
}

// Paths of libraries, each with the GPUs that it found: drivers take a while to answer.
const checked = new Map<string, number>();

/** @internal The library of GPU kernels, after a check that GPU number `index` exists. */
export function cudaLibrary(index: number): string {
  const { path } = findLibrary();
  if (index < (checked.get(path) ?? 0)) return path;
  const devices = cudaDevices();
  checked.set(path, devices.length);
  if (devices.length === 0)
    throw new LongVLMError(
      'ERR_LONGVLM_CUDA',
      existsSync(path)
        ? "There is no NVIDIA GPU, or no driver for it. Use device 'cpu'."
        : `The GPU kernels are not built: there is no ${path}. Run 'npm run build:cuda' in longvlm's folder, which needs the CUDA toolkit, or use device 'cpu'.`,
    );
  if (index >= devices.length)
    throw new LongVLMError(
      'ERR_LONGVLM_CUDA',
      `There is no GPU cuda:${index}. There are: ${devices.map((device) => `cuda:${device.index} (${device.name})`).join(', ')}.`,
    );
  return path;
}
