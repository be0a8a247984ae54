import { type Float32Tensor, float32Tensor, type Tensor, type TensorInput } from '../base/tensor.js';
import { checkInteger, checkNumber, checkObject, isArray, wrongType, wrongValue } from '../base/validate.js';
import { checkFilledTensor, readTensor } from './arguments.js';
import { DeviceBuffer, type DeviceTensorType } from './deviceBuffer.js';
import { withIntegers } from './deviceReduction.js';
import { devicePlace, run } from './place.js';
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

/** The same on a GPU. Each is yours to dispose. */
export type AnchoredDeviceTokens = {
  /** `[anchors, channels]`, of the input's type. */
  readonly tokens: DeviceBuffer;
  /** `[anchors]` float32. */
  readonly sizes: DeviceBuffer;
  /** `[tokens]` int32. */
  readonly assignment: DeviceBuffer;
  /** `[tokens]` float32. */
  readonly similarities: DeviceBuffer;
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
  tokens: TensorInput,
  anchors: ArrayLike<number>,
  options?: AssignToAnchorsOptions,
): Promise<AnchoredTokens>;
/** The same on the GPU that holds the tokens, bit by bit; `anchors` are copied there, and the results stay there. */
export async function assignToAnchors(
  tokens: DeviceBuffer,
  anchors: ArrayLike<number>,
  options?: AssignToAnchorsOptions,
): Promise<AnchoredDeviceTokens>;
export async function assignToAnchors(
  tokens: TensorInput | DeviceBuffer,
  anchors: ArrayLike<number>,
  options: AssignToAnchorsOptions = {},
): Promise<AnchoredTokens | AnchoredDeviceTokens> {
  const { beta, signal } = checkObject('options', options);
  if (tokens instanceof DeviceBuffer) return await assignOnDevice(tokens, anchors, checkBeta(beta), signal);
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
    beta: checkBeta(beta),
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

async function assignOnDevice(
  tokens: DeviceBuffer,
  anchors: ArrayLike<number>,
  beta: number,
  signal: AbortSignal | null | undefined,
): Promise<AnchoredDeviceTokens> {
  devicePlace(tokens.deviceIndex).checkFloats('tokens', tokens, ['tokens', 'channels']);
  const [rows, channels] = tokens.dims as [number, number];
  const list = checkAnchors(anchors, rows);
  const count = list.length;
  return await withIntegers(tokens, list, signal, (buffer) =>
    run(
      tokens,
      signal,
      (place) => {
        const allocate = (type: DeviceTensorType, dims: number[]) => place.allocate(type, dims) as DeviceBuffer;
        const result = {
          tokens: allocate(tokens.type, [count, channels]),
          sizes: allocate('float32', [count]),
          assignment: allocate('int32', [rows]),
          similarities: allocate('float32', [rows]),
        };
        const args = {
          tokens: tokens.native(),
          dims: [1, rows, channels] as const,
          count,
          anchors: buffer.native(),
          beta,
          outAssignment: result.assignment.native(),
          outCosines: result.similarities.native(),
          outSizes: result.sizes.native(),
          outTokens: result.tokens.native(),
        };
        return { args, result };
      },
      (native, args) => native.assignToAnchors(args),
    ),
  );
}

/** The native functions' number for no blend is below 0. */
function checkBeta(beta: unknown): number {
  return beta === undefined ? -1 : checkNumber('beta', beta, 0, 1);
}

function checkAnchors(anchors: unknown, tokens: number): Int32Array {
  if (!isArray(anchors) && !ArrayBuffer.isView(anchors)) wrongType('anchors', 'array of integers', anchors);
  const { length } = anchors as ArrayLike<unknown>;
  if (length < 1 || length > tokens) wrongValue('anchors.length', `number of anchors between 1 and ${tokens}`, length);
  return Int32Array.from(anchors as ArrayLike<unknown>, (anchor, i) =>
    checkInteger(`anchors[${i}]`, anchor, 0, tokens - 1),
  );
}
