import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runNode } from '../kernels/childProcess.js';

const merge = (device: string) => `const { cudaDevices, mergeTokens } = await import('./dist/kernels/index.js');
  const tokens = { type: 'float32', data: new Float32Array(64).fill(1), dims: [8, 8] };
  const outcome = {};
  try { outcome.devices = cudaDevices(); } catch ({ name, code, message }) { outcome.listing = { name, code, message }; }
  try { outcome.kept = (await mergeTokens(tokens, { heads: 1, keep: 2, device: '${device}' })).tokens.dims; }
  catch ({ name, code, message }) { outcome.error = { name, code, message }; }
  console.log(JSON.stringify(outcome));`;

async function mergeIn(env: NodeJS.ProcessEnv, device = 'cuda') {
  const child = await runNode(['--input-type=module', '-e', merge(device)], env);
  expect(child).toMatchObject({ code: 0, stderr: '' });
  return JSON.parse(child.stdout);
}

const noLibrary = { LONGVLM_CUDA_LIBRARY: '' };

describe('without a GPU', () => {
  test.skipIf(existsSync('/dev/nvidia0'))('there are no devices, and an error says what to do', async () => {
    const { devices, error } = await mergeIn(noLibrary);
    expect(devices).toEqual([]);
    expect(error).toMatchObject({
      name: 'LongVLMError',
      code: 'ERR_LONGVLM_CUDA',
      message: expect.stringMatching(/(npm run build:cuda|no NVIDIA GPU).*use device 'cpu'|Use device 'cpu'/i),
    });
  });

  test("device 'auto' and 'cpu' need none", async () => {
    expect(await mergeIn(noLibrary, 'auto')).toMatchObject({ kept: [2, 8] });
    expect(await mergeIn(noLibrary, 'cpu')).toMatchObject({ kept: [2, 8] });
  });

  test('what is no device is refused', async () => {
    expect((await mergeIn(noLibrary, 'cuda:x')).error).toMatchObject({
      name: 'RangeError',
      message: "Expected one of auto, cpu, cuda or cuda:N for device but received 'cuda:x' of type string",
    });
  });
});

describe('LONGVLM_CUDA_LIBRARY', () => {
  test('has to name a file', async () => {
    const { listing, error } = await mergeIn({ LONGVLM_CUDA_LIBRARY: '/nowhere/lib.so' });
    const expected = { code: 'ERR_LONGVLM_CUDA', message: expect.stringContaining('/nowhere/lib.so') };
    expect(listing).toMatchObject(expected);
    expect(error).toMatchObject(expected);
  });

  test('has to name a library, of the GPU kernels', async () => {
    const { listing } = await mergeIn({ LONGVLM_CUDA_LIBRARY: 'package.json' });
    expect(listing).toMatchObject({
      code: 'ERR_LONGVLM_CUDA',
      message: expect.stringMatching(/^The GPU kernels cannot be loaded: .*package\.json/),
    });
    const other = await mergeIn({ LONGVLM_CUDA_LIBRARY: join('build', 'Release', 'longvlm.node') });
    expect(other.listing).toMatchObject({
      code: 'ERR_LONGVLM_CUDA',
      message: expect.stringMatching(/longvlm\.node have no lv_abi_version. Build them again: npm run build:cuda/),
    });
  });
});
