// ONNX Runtime's library, and the devices it can use.
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { LongVLMError, messageOf } from '../base/errors.js';
import { fileOfPackage } from '../base/platformPackages.js';
import { binding } from '../binding.js';
import { kernelsOn } from '../kernels/cuda.js';
import { gpuMemoryBytes } from './gpuMemory.js';

/** How ONNX Runtime runs a graph on a device: an execution provider. */
export type Provider = {
  /** Its name in the list of what ONNX Runtime was built with. */
  readonly listed: string;
  /** The name by which a session takes it. */
  readonly name: string;
  readonly options?: Readonly<Record<string, string>>;
  /** Entries of the session's configuration. */
  readonly config?: Readonly<Record<string, string>>;
  /** Part of the file name of its own library, a separate download. */
  readonly library?: string;
};

/** A provider to try. */
export type Candidate = Provider & {
  /** The name of the device, for people. */
  readonly device: string;
  /** The number of the GPU. */
  readonly gpu: number;
  /** The library of the GPU kernels that share its memory and its stream; undefined where there is none. */
  readonly kernels?: string | undefined;
};

const providers: Readonly<Record<string, Provider>> = {
  cpu: { listed: 'CPUExecutionProvider', name: 'cpu' },
  cuda: {
    listed: 'CUDAExecutionProvider',
    name: 'cuda',
    options: {
      // llama.cpp shares the card: take what is needed, not the next power of two.
      arena_extend_strategy: 'kSameAsRequested',
      // Otherwise products of float32 are rounded to 10 bits, as little as float16, which can be had by its name.
      use_tf32: '0',
      // The variance in float32, also where values are float16.
      enable_skip_layer_norm_strict_mode: '1',
    },
    config: { 'session.use_device_allocator_for_initializers': '1' },
    library: 'onnxruntime_providers_cuda',
  },
  dml: { listed: 'DmlExecutionProvider', name: 'dml' },
  coreml: { listed: 'CoreMLExecutionProvider', name: 'CoreML' },
  webgpu: { listed: 'WebGpuExecutionProvider', name: 'WebGPU' },
};

// The order in which `auto` tries them: those that run a whole graph over weights in place, without conversion.
const automatic = ['cuda', 'dml', 'cpu'];

/**
 * The path of ONNX Runtime's library: that of longvlm's package for the platform, else onnxruntime-node's, where that is
 * installed. `LONGVLM_ONNXRUNTIME`, the path of another one (1.22 or newer), replaces both.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` when it is not there
 */
export function ortLibrary(): string {
  const chosen = process.env.LONGVLM_ONNXRUNTIME;
  if (chosen) {
    if (existsSync(chosen)) return resolve(chosen);
    unsupported(`LONGVLM_ONNXRUNTIME: there is no file ${chosen}. Give the path of ONNX Runtime's library.`);
  }
  const names: Record<string, string> = { win32: 'onnxruntime.dll', darwin: 'libonnxruntime.1.dylib' };
  const name = names[process.platform] ?? 'libonnxruntime.so.1';
  const packaged = `@longvlm/onnxruntime-${process.platform}-${process.arch}`;
  const found = fileOfPackage(packaged, name) ?? inOnnxruntimeNode(name);
  if (found) return found;
  return unsupported(
    `There is no ONNX Runtime: neither the package ${packaged} nor onnxruntime-node, with a library for ${process.platform} on ${process.arch}, is installed. ` +
      'Install longvlm again with its optional dependencies (without --omit=optional), install onnxruntime-node, or set LONGVLM_ONNXRUNTIME to the path of its library.',
  );
}

/** In a checkout it is where ONNX Runtime comes from. */
function inOnnxruntimeNode(name: string): string | undefined {
  const manifest = fileOfPackage('onnxruntime-node');
  if (manifest === undefined) return undefined;
  const bin = join(dirname(manifest), 'bin');
  return filesOf(bin)
    .map((version) => join(bin, version, process.platform, process.arch, name))
    .find((path) => existsSync(path));
}

/** The number in `cuda:1`, and the name before it. */
function readDevice(device: string): { readonly name: string; readonly gpu: number } {
  const [, number] = /^cuda:(\d{1,3})$/.exec(device) ?? [];
  return number === undefined ? { name: device, gpu: 0 } : { name: 'cuda', gpu: Number(number) };
}

/** What `cuda` is where LONGVLM_CUDA_LIBRARY names the emulation: the CPU, over the memory that stands for the GPU's. */
function emulated(gpu: number): Candidate | undefined {
  const kernels = process.env.LONGVLM_CUDA_LIBRARY ? kernelsOn(gpu) : undefined;
  if (!kernels?.emulated) return undefined;
  return { ...providers.cpu!, device: 'cuda (emulated on the CPU)', gpu, kernels: kernels.library };
}

/**
 * The providers to try for a device, best first.
 * @param wanted `auto` or one of the devices; `cuda:1` for the second GPU
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a device that this build of ONNX Runtime lacks
 */
export function providersFor(wanted: string): readonly Candidate[] {
  const library = ortLibrary();
  const { name: device, gpu } = readDevice(wanted);
  const stand = device === 'cuda' ? emulated(gpu) : undefined;
  if (stand) return [stand];
  const listed = new Set(listedIn(library));
  const built = Object.keys(providers).filter((name) => listed.has(providers[name]!.listed));
  // Without this check ONNX Runtime prints errors on stderr.
  const available = built.filter((name) => isInstalled(library, providers[name]!));
  if (device !== 'auto' && !available.includes(device)) {
    const others = `use auto or one of ${available.join(', ')}.`;
    unsupported(
      built.includes(device)
        ? `Device '${device}' needs a library that is not installed. Install onnxruntime-node with ONNXRUNTIME_NODE_INSTALL=true in the environment and let LONGVLM_ONNXRUNTIME name its library, or ${others}`
        : `Device '${device}' is not available in this build of ONNX Runtime: ${others}`,
    );
  }
  const tried = device === 'auto' ? automatic.filter((name) => available.includes(name)) : [device];
  return tried.map((name) => (name === 'cuda' ? onCuda(wanted, gpu) : { device: name, gpu, ...providers[name]! }));
}

function onCuda(wanted: string, gpu: number): Candidate {
  const { options, ...provider } = providers.cuda!;
  const limit = { gpu_mem_limit: String(gpuMemoryBytes()) };
  const kernels = kernelsOn(gpu);
  return {
    ...provider,
    device: wanted === 'auto' ? 'cuda' : wanted,
    gpu,
    options: { ...options, ...limit },
    kernels: kernels?.emulated ? undefined : kernels?.library,
  };
}

function listedIn(library: string): readonly string[] {
  try {
    return binding().ortLibrary({ library }).providers;
  } catch (error) {
    const remedy = process.env.LONGVLM_ONNXRUNTIME
      ? 'Correct LONGVLM_ONNXRUNTIME, the path of its library, or unset it.'
      : 'Install longvlm again.';
    return unsupported(`${messageOf(error)}. ${remedy}`, error);
  }
}

function isInstalled(library: string, provider: Provider): boolean {
  const own = provider.library;
  return own === undefined || filesOf(dirname(library)).some((file) => file.includes(`${own}.`));
}

function filesOf(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

function unsupported(message: string, cause?: unknown): never {
  throw new LongVLMError('ERR_LONGVLM_UNSUPPORTED', message, { cause });
}
