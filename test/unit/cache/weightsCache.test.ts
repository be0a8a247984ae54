import { copyFileSync } from 'node:fs';
import { copyFile, readdir, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Progress } from '../../../dist/base/progress.js';
import { toEightBits } from '../../../dist/cache/eightBitMatrices.js';
import { listWeights } from '../../../dist/cache/weightsCache.js';
import { withoutQuantization } from '../../../dist/cache/withoutQuantization.js';
import { openWeights } from '../../../dist/files/openWeights.js';
import { openSafetensors, writeSafetensors } from '../../../dist/files/safetensors.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const quantized = fileURLToPath(new URL('../../fixtures/gguf/quantized.gguf', import.meta.url));
const folder = await temporaryFolder();
const before = process.env.LONGVLM_CACHE;
let caches = 0;
beforeEach(() => {
  process.env.LONGVLM_CACHE = join(folder, `cache${caches++}`);
});
afterEach(() => {
  if (before === undefined) delete process.env.LONGVLM_CACHE;
  else process.env.LONGVLM_CACHE = before;
});

describe('writing weights out', () => {
  test('reports tensors from first to last, once, and nothing when they are there', async () => {
    const seen: Progress[] = [];
    const onProgress = (progress: Progress) => seen.push(progress);
    const { tensors } = await withoutQuantization(await openWeights(quantized), { onProgress });
    // What is not quantised stays where it is.
    const total = [...tensors.values()].filter(({ file }) => file !== quantized).length;
    expect(total).toBe(8);
    const report = { stage: 'convert', total, unit: 'tensors', name: basename(quantized) };
    expect(seen).toEqual(Array.from({ length: total + 1 }, (_, done) => ({ ...report, done })));
    seen.length = 0;
    await withoutQuantization(await openWeights(quantized), { onProgress });
    expect(seen).toEqual([]);
  });

  test('reports the rounding of matrices', async () => {
    const file = join(folder, 'matrix.safetensors');
    await writeSafetensors(file, { matrix: { type: 'F32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) } });
    const { tensors } = await openSafetensors(file);
    const seen: Progress[] = [];
    await toEightBits([...tensors.values()], file, { onProgress: (progress) => seen.push(progress) });
    expect(seen.map(({ done, total }) => `${done}/${total}`)).toEqual(['0/2', '1/2', '2/2']);
    expect(seen[0]).toMatchObject({ stage: 'convert', unit: 'tensors', name: 'matrix.safetensors' });
  });

  test('ends at an abort between two tensors, and leaves nothing', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const onProgress = ({ done }: Progress) => {
      if (done === 3) controller.abort(reason);
    };
    const file = await openWeights(quantized);
    await expect(withoutQuantization(file, { signal: controller.signal, onProgress })).rejects.toBe(reason);
    expect(await listWeights()).toEqual([]);
    const { tensors } = await withoutQuantization(file);
    expect((await listWeights()).map((found) => found.file)).toEqual([tensors.get('Q4_0')!.file]);
  });

  test('keeps nothing of weights that are exchanged meanwhile', async () => {
    const file = join(folder, 'exchanged.gguf');
    await copyFile(quantized, file);
    const onProgress = ({ done }: Progress) => {
      if (done === 3) copyFileSync(quantized, file);
    };
    await expect(withoutQuantization(await openWeights(file), { onProgress })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: expect.stringMatching(/exchanged\.gguf: it changed while it was read\. Try again/),
    });
    expect(await readdir(join(process.env.LONGVLM_CACHE!, 'weights'))).toEqual([]);
  });

  test('fails where the cache cannot be', async () => {
    await writeFile(process.env.LONGVLM_CACHE!, '');
    await expect(withoutQuantization(await openWeights(quantized))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
      message: expect.stringMatching(/^The cache folder .*weights cannot be made .*Set LONGVLM_CACHE/),
    });
    await rm(process.env.LONGVLM_CACHE!);
  });
});
