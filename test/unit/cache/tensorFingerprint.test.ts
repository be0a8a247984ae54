import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fingerprint } from '../../../dist/cache/fingerprint.js';
import { openSafetensors, writeSafetensors } from '../../../dist/files/safetensors.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const folder = await temporaryFolder();
let files = 0;

/** Of one tensor, which is changed at these places. */
async function fingerprintOf(count: number, changed: readonly number[] = [], shape = [count], description = 'tower') {
  const data = Float32Array.from({ length: count }, (_, i) => Math.sin(i));
  for (const place of changed) data[place]! += 1;
  const file = join(folder, `${files++}.safetensors`);
  await writeSafetensors(file, { [`name${files}`]: { type: 'F32', shape, data } });
  return fingerprint(description, [...(await openSafetensors(file)).tensors.values()]);
}

test.each([5, 20_000, 100_000])(
  'tells apart tensors of %i values that differ first, last or in the middle',
  async (count) => {
    const same = await fingerprintOf(count);
    // Names and files do not count.
    expect(await fingerprintOf(count)).toBe(same);
    for (const places of [[0], [count - 1], [count >> 1, ...Array.from({ length: count >> 3 }, (_, i) => 8 * i)]])
      expect(await fingerprintOf(count, places), `${places.length} from ${places[0]} on`).not.toBe(same);
  },
);

test('tells apart shapes and descriptions', async () => {
  const all = [await fingerprintOf(6), await fingerprintOf(6, [], [2, 3]), await fingerprintOf(6, [], [6], 'other')];
  expect(new Set(all).size).toBe(3);
});

test('sees a single value of a large tensor', async () => {
  expect(await fingerprintOf(3_000_000, [2_345_678])).not.toBe(await fingerprintOf(3_000_000));
});
