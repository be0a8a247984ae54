import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { halfToNumber } from '../../../dist/base/tensor.js';
import { withoutQuantization } from '../../../dist/cache/withoutQuantization.js';
import { openWeights } from '../../../dist/files/openWeights.js';
import { requireTensor } from '../../../dist/files/requireTensor.js';
import { readTensor } from '../../../dist/files/tensorFile.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

process.env.LONGVLM_CACHE = await temporaryFolder();
const saved = (name: string) => fileURLToPath(new URL(`../../fixtures/pytorch/${name}`, import.meta.url));
type Expected = Record<string, { shape: number[]; values: number[] } | null>;
const expected = JSON.parse(await readFile(saved('allowed.json'), 'utf8')) as Record<string, Expected>;

test.each(['allowed', 'views', 'legacy'])(
  '%s.pt has the tensors that torch.load(weights_only=True) gives',
  async (name) => {
    const file = await withoutQuantization(await openWeights(saved(`${name}.pt`)));
    expect([...file.tensors.keys()].sort()).toEqual(Object.keys(expected[name]!).sort());
    for (const [key, due] of Object.entries(expected[name]!)) {
      const tensor = file.tensors.get(key)!;
      if (due === null) {
        // Taken, and refused only when it is needed.
        expect(() => requireTensor(file, key, tensor.shape)).toThrow(/is of type .*, which cannot be run/);
        await expect(readTensor(tensor)).rejects.toMatchObject({ code: 'ERR_LONGVLM_WEIGHTS' });
        continue;
      }
      expect(tensor.shape, key).toEqual(due.shape);
      const values = await readTensor(tensor);
      const numbers =
        tensor.type === 'F16' ? Array.from(values as Uint16Array, halfToNumber) : Array.from(values, Number);
      expect(numbers, key).toEqual(due.values);
    }
  },
);

test('only what does not lie in order is written out', async () => {
  const { tensors } = await withoutQuantization(await openWeights(saved('views.pt')));
  const elsewhere = [...tensors.values()].filter(({ file }) => file !== saved('views.pt')).map(({ name }) => name);
  expect(elsewhere.sort()).toEqual(
    ['bfloat16', 'diagonal', 'double', 'expanded', 'half', 'permuted', 'sliced', 'stepped', 'transposed'].sort(),
  );
});
