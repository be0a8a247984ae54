// The GPU kernels for tests: those that LONGVLM_CUDA_LIBRARY names, else the same sources compiled for the CPU, as most
// machines that run tests have no GPU.
import { join } from 'node:path';
import { expect } from 'vitest';
import { repository, runNode } from '../kernels/childProcess.js';

/** Builds the emulation where it is needed, and makes it the library that this process uses. */
export async function useCudaLibrary(): Promise<void> {
  if (process.env.LONGVLM_CUDA_LIBRARY) return;
  const built = await runNode(['scripts/build-cuda.mjs', '--emulated']);
  expect(built).toMatchObject({ code: 0 });
  process.env.LONGVLM_CUDA_LIBRARY = join(repository, 'build/cuda/liblongvlm_cuda_emulated.so');
}
