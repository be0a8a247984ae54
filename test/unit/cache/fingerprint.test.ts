import { open } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { hashFile, hashOf } from '../../../dist/base/hash.js';
import { weightsFingerprint } from '../../../dist/cache/fingerprint.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

/** A file of zeros, with some bytes set. */
async function fileWith(file: string, size: number, bytes: Record<number, number> = {}): Promise<string> {
  const handle = await open(file, 'w');
  await handle.truncate(size);
  for (const [at, value] of Object.entries(bytes)) await handle.write(Uint8Array.of(value), 0, 1, Number(at));
  await handle.close();
  return file;
}

// The last one is read in several pieces.
test.each([0, 1, 100, 16 << 20, (16 << 20) + 1, 40 << 20])(
  'weightsFingerprint() tells files of %i bytes apart',
  async (size) => {
    const folder = await temporaryFolder();
    let made = 0;
    const of = async (bytes: number, set?: Record<number, number>) =>
      weightsFingerprint(await fileWith(path.join(folder, String(made++)), bytes, set));
    const plain = await of(size);
    expect(plain).toMatch(/^[0-9a-f]{64}$/);
    expect(await of(size)).toBe(plain);
    const others = [await of(size + 1)];
    const middle = size >> 1;
    if (size > 0)
      others.push(await of(size, { 0: 1 }), await of(size, { [size - 1]: 2 }), await of(size, { [middle]: 3 }));
    expect(others).not.toContain(plain);
    expect(new Set(others).size).toBe(others.length);
  },
);

test('hashFile() is the SHA-256 of the content, and ends at an abort', async () => {
  const folder = await temporaryFolder();
  const file = await fileWith(path.join(folder, 'abc'), 3, { 0: 97, 1: 98, 2: 99 });
  expect(await hashFile(file)).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  const reason = new Error('no');
  await expect(hashFile(file, AbortSignal.abort(reason))).rejects.toBe(reason);
  await expect(hashFile(path.join(folder, 'none'))).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
});

test('hashOf() does not depend on the order of keys, nor on keys without a value', () => {
  expect(hashOf({ a: 1, b: { c: [1, 2], d: 3 } })).toBe(hashOf({ e: undefined, b: { d: 3, c: [1, 2] }, a: 1 }));
  expect(hashOf({ a: [1, 2] })).not.toBe(hashOf({ a: [2, 1] }));
});
