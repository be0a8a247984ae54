// What the reference implementation computed, in test/fixtures/merge.
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { float32Tensor, type Tensor } from '../../dist/base/tensor.js';
import { openSafetensors, readTensor } from '../../dist/files/safetensors.js';
import { relativeError } from './tensors.js';

const folder = fileURLToPath(new URL('../fixtures/merge/', import.meta.url));

export type Golden = {
  readonly name: string;
  readonly tokens: Tensor;
  readonly heads: number;
  readonly schedule: number[];
  readonly merged: Tensor;
  readonly sizes: Tensor;
  readonly assignment: Int32Array;
};

/** What is compared of a result, as arrays or as JSON brought it. */
export type GoldenResult = {
  readonly dims: readonly number[];
  readonly tokens: ArrayLike<number>;
  readonly sizes: ArrayLike<number>;
  readonly assignment: ArrayLike<number>;
};

export const goldenNames: readonly string[] = readdirSync(folder)
  .filter((file) => file.endsWith('.safetensors'))
  .map((file) => file.replace('.safetensors', ''));

export async function loadGolden(name: string): Promise<Golden> {
  const { tensors, metadata } = await openSafetensors(`${folder}${name}.safetensors`);
  const read = async (tensor: string) => {
    const location = tensors.get(tensor)!;
    return float32Tensor((await readTensor(location)) as Float32Array, location.shape);
  };
  return {
    name,
    tokens: await read('tokens'),
    heads: Number(metadata.heads),
    schedule: JSON.parse(metadata.schedule!),
    merged: await read('merged'),
    sizes: await read('sizes'),
    assignment: (await readTensor(tensors.get('assignment')!)) as Int32Array,
  };
}

/** The same assignment and sizes exactly, tokens within 1e-5 relative: the reference rounds to float32 at every level. */
export function expectGolden(golden: Golden, result: GoldenResult): void {
  expect(result.dims).toEqual(golden.merged.dims);
  expect(Array.from(result.assignment)).toEqual([...golden.assignment]);
  expect(Array.from(result.sizes)).toEqual([...golden.sizes.data]);
  expect(relativeError(result.tokens, golden.merged.data)).toBeLessThan(1e-5);
}
