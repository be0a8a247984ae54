// Finds the GPU kernels and the GPUs.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LongVLMError } from '../base/errors.js';
import { wrongType, wrongValue } from '../base/validate.js';
import { binding, fromNative } from '../binding.js';

/** Where a kernel computes: on the CPU, on the first NVIDIA GPU, or on the one of that number. */
export type Device = 'cpu' | 'cuda' | `cuda:${number}`;

export type CudaDevice = {
  /** Its number, as in `cuda:0`. */
  readonly index: number;
  readonly name: string;
  /** As NVIDIA counts, such as `9.0`. */
  readonly computeCapability: string;
  readonly totalBytes: number;
  readonly freeBytes: number;
};

/** The library of the GPU kernels: `LONGVLM_CUDA_LIBRARY`, else what `npm run build:cuda` made. */
function findLibrary(): { path: string; overridden: boolean } {
  const override = process.env.LONGVLM_CUDA_LIBRARY;
  if (override) return { path: resolve(override), overridden: true };
  const name = process.platform === 'win32' ? 'longvlm_cuda.dll' : 'liblongvlm_cuda.so';
  return { path: fileURLToPath(new URL(`../../build/cuda/${name}`, import.meta.url)), overridden: false };
}

/**
 * The NVIDIA GPUs that the kernels can use. None where there is no driver, or where the GPU kernels were not built
 * (`npm run build:cuda` in the package's folder).
 *
 * @throws LongVLMError `ERR_LONGVLM_CUDA` when there are kernels and a driver, but they do not work together
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

/** @internal Checks the name of a GPU: its number. */
export function cudaIndex(name: string, value: unknown): number {
  const expected = "'cuda' or 'cuda:N'";
  if (typeof value !== 'string') wrongType(name, expected, value);
  const match = /^cuda(?::(\d+))?$/.exec(value);
  if (match === null) wrongValue(name, expected, value);
  return Number(match[1] ?? 0);
}

/** @internal Where host tensors are computed: the number of a GPU, or undefined for the CPU. */
export function chosenDevice(device: unknown): number | undefined {
  if (device === undefined || device === 'auto' || device === 'cpu') return undefined;
  if (typeof device === 'string' && !/^cuda(:\d+)?$/.test(device))
    wrongValue('device', 'one of auto, cpu, cuda or cuda:N', device);
  return cudaIndex('device', device);
}

/** @internal The library to use for GPU number `index`, which is known to be there. */
export function cudaLibrary(index: number): string {
  const devices = cudaDevices();
  const { path } = findLibrary();
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
