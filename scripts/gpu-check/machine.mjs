// What the machine is and has.
import { cpus, totalmem } from 'node:os';
import { binding } from '../../dist/binding.js';
import { ortLibrary } from '../../dist/compute/ortLibrary.js';
import { cudaDevices } from '../../dist/kernels/index.js';
import { program, python } from './common.mjs';

const describeTorch = `
import importlib.metadata, torch
there = "with CUDA" if torch.cuda.is_available() else "without CUDA"
print(torch.__version__, there, "- transformers", importlib.metadata.version("transformers"))`;

/** What a program prints, or that it is not there. */
async function says(command, ...args) {
  const { code, late, stdout, stderr } = await program(command, args, { seconds: 30 });
  if (late) return 'no answer within 30 s';
  const last = `${stdout}${stderr}`.trim().split('\n').at(-1);
  return code === 0 ? last : `not there (${last || 'no such program'})`;
}

export async function* machine() {
  yield { processor: `${cpus()[0]?.model}, ${cpus().length} threads`, memoryBytes: totalmem(), node: process.version };
  const [device] = cudaDevices();
  yield device === undefined ? { gpu: undefined } : { gpu: device.name, computeCapability: device.computeCapability };
  if (device !== undefined) yield { gpuBytes: device.totalBytes, gpuFreeBytes: device.freeBytes };
  const { version, providers } = binding().ortLibrary({ library: ortLibrary() });
  yield { onnxRuntime: version, providers };
  yield {
    driver: await says(
      'nvidia-smi',
      '--query-gpu=driver_version,clocks.sm,clocks.mem,persistence_mode',
      '--format=csv,noheader',
    ),
  };
  yield { sanitizer: await says('compute-sanitizer', '--version') };
  yield { pytorch: await says(python, '-c', describeTorch) };
}
