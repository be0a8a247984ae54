// What compiles as a tensor: `npm run check` compiles this file.
import { Tensor as OrtTensor } from 'onnxruntime-common';
import { expect, test } from 'vitest';
import { mergeTokens, type Tensor, type TensorInput, vCast } from '../../dist/kernels/index.js';

test('a tensor of ONNX Runtime fits as it is, without a cast, and is merged as its values are', async () => {
  const data = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i));
  const options = { heads: 1, keep: 2 };
  const dims = [8, 8];
  const expected = await mergeTokens({ type: 'float32', data, dims }, options);
  // Its static type is that of what a session gives: any element type.
  const tensor: OrtTensor = new OrtTensor('float32', data, dims);
  const given: TensorInput = tensor;
  expect(
    await mergeTokens(tensor, { ...options, sizes: new OrtTensor('float32', new Float32Array(8).fill(1), [8]) }),
  ).toEqual(expected);
  expect(await mergeTokens(given, options)).toEqual(expected);
  const integers: OrtTensor = new OrtTensor('int32', new Int32Array(64), dims);
  await expect(mergeTokens(integers, options)).rejects.toThrow(
    "Expected 'float32' or 'float16' for tokens.type but received 'int32' of type string",
  );
});

test('float16 tensors of ONNX Runtime fit, whatever array this Node gives them', async () => {
  const tensor = new OrtTensor('float16', new Uint16Array(8).fill(0x3c00), [1, 4, 2]);
  const { tokens } = await vCast(tensor, { retentionRatio: 1 });
  expect(tokens).toEqual({ type: 'float16', data: new Uint16Array(8).fill(0x3c00), dims: [4, 2] });
});

test('a literal in a variable fits, and arrays of other types do not', async () => {
  const tensor = { type: 'float32', data: new Float32Array(4), dims: [2, 2] };
  const { tokens } = await mergeTokens(tensor, { heads: 1, keep: 1 });
  const result: Tensor = tokens;
  expect(result.dims).toEqual([1, 2]);
  const doubles = { type: 'float64', data: new Float64Array(4), dims: [2, 2] };
  // @ts-expect-error: doubles are none
  await expect(mergeTokens(doubles, { heads: 1, keep: 1 })).rejects.toThrow(TypeError);
});
