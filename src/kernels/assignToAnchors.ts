import { type Float32Tensor, float32Tensor, type Tensor } from '../base/tensor.js';
import { checkInteger, checkNumber, checkObject, isArray, wrongType, wrongValue } from '../base/validate.js';
import { checkFilledTensor, readTensor } from './arguments.js';
import { allocateLike, type ReducerCallOptions, runOnHost } from './reduction.js';

export type AssignToAnchorsOptions = ReducerCallOptions & {
  /**
   * The least weight of an anchor in its blend with the tokens that go to it, 0 to 1, as in FastVID:
   * `w · anchor + (1 - w) · mean`, with `w = max(1 / (tokens + 1), beta)`.
   *
   * Defaults to none: the plain mean of the tokens.
   */
  readonly beta?: number;
};

/** Tokens, merged into some of them. */
export type AnchoredTokens = {
  /** `[anchors, channels]`, of the input's type. An anchor that no token goes to, not even itself, stays as it is. */
  readonly tokens: Tensor;
  /** `[anchors]`, how many tokens go to each. */
  readonly sizes: Float32Tensor;
  /** For each token the number of its anchor among `anchors`. */
  readonly assignment: Int32Array;
  /** `[tokens]`, the cosine of each token with its anchor; 0 for a zero token. */
  readonly similarities: Float32Tensor;
};

/**
 * Assigns every token to the anchor that it is most similar to by cosine, of equal ones the first, and merges what goes to the
 * same anchor. The product of tokens and anchors is folded into its arg-max.
 *
 * @param tokens `[tokens, channels]`, float32 or float16
 * @param anchors which of the tokens are anchors, at least one
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; the message says where
 */
export async function assignToAnchors(
  tokens: Tensor,
  anchors: ArrayLike<number>,
  options: AssignToAnchorsOptions = {},
): Promise<AnchoredTokens> {
  const { beta, signal } = checkObject('options', options);
  const tensor = checkFilledTensor('tokens', readTensor(tokens), ['tokens', 'channels']);
  const [count, channels] = tensor.dims as [number, number];
  const rows = checkAnchors(anchors, count);
  const outTokens = allocateLike(tensor, rows.length * channels);
  const outAssignment = new Int32Array(count);
  const outCosines = new Float32Array(count);
  const outSizes = new Float32Array(rows.length);
  const args = {
    tokens: tensor.data,
    dims: [1, count, channels] as const,
    count: rows.length,
    anchors: rows,
    beta: beta === undefined ? -1 : checkNumber('beta', beta, 0, 1),
    outAssignment,
    outCosines,
    outSizes,
    outTokens,
  };
  await runOnHost(signal, args, (native, read) => native.assignToAnchors(read));
  return {
    tokens: { type: tensor.type, data: outTokens, dims: [rows.length, channels] } as Tensor,
    sizes: float32Tensor(outSizes, [rows.length]),
    assignment: outAssignment,
    similarities: float32Tensor(outCosines, [count]),
  };
}

function checkAnchors(anchors: unknown, tokens: number): Int32Array {
  if (!isArray(anchors) && !ArrayBuffer.isView(anchors)) wrongType('anchors', 'array of integers', anchors);
  const { length } = anchors as ArrayLike<unknown>;
  if (length < 1 || length > tokens) wrongValue('anchors.length', `number of anchors between 1 and ${tokens}`, length);
  return Int32Array.from(anchors as ArrayLike<unknown>, (anchor, i) =>
    checkInteger(`anchors[${i}]`, anchor, 0, tokens - 1),
  );
}
