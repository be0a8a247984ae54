// What the methods for whole videos share: a budget, options of their own, and tokens with rows for later layers.
import type { AttentionSource } from '../base/attention.js';
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import type { ReducedVideo } from '../kernels/index.js';
import { settleAttention, withAttention } from './attention.js';
import { type ReduceOnDevice, reducesOnDevice } from './onDevice.js';
import { checkReductionOptions, type ReductionOptions } from './options.js';
import type { ReducedVideoTokens, VideoReducer, VideoReduction } from './reducer.js';
import { type ReducerKind, reducerId, type SegmentShape } from './reducer.js';

/** A method for whole videos. `Options` are what its kernel takes beside tensors. */
export type VideoMethod<Options extends object> = {
  readonly name: string;
  /** Names of its own options, beside `retentionRatio` and `stage`, and `attention` where it ranks tokens. */
  readonly options: readonly string[];
  /** What it ranks tokens by where the tower gives no attention. Undefined: it takes none. */
  readonly withoutAttention?: 'norm' | 'div';
  /** The fewest tokens that it can keep of a video, with the reason in words. */
  least(video: SegmentShape, options: Options): readonly [tokens: number, reason: string];
  /** Options by which its kernel keeps at most so many tokens, which are at least the fewest, and at most all. */
  withTokens(video: SegmentShape, options: Options, tokens: number): Options;
  /** The most tokens that it keeps. @throws TypeError or RangeError for a wrong option */
  count(video: SegmentShape, options: Options): number;
  /** Whether it needs the tokens of all frames at once. */
  readonly gathers: boolean;
  start(
    video: SegmentShape,
    options: Options,
    signal: AbortSignal | undefined,
    /** What it ranks tokens by, if it does. */
    attention: AttentionSource | undefined,
  ): VideoReduction;
  /** How it works where all tokens are on a GPU, with the same result; undefined where the host alone can, with these options. */
  onDevice(video: SegmentShape, options: Options, attention: AttentionSource | undefined): ReduceOnDevice | undefined;
};

/** The kind of reducer that a method is. */
export function videoKind<Options extends object>(method: VideoMethod<Options>): ReducerKind {
  const { name, withoutAttention: otherwise } = method;
  const names = otherwise ? ['attention', ...method.options] : method.options;
  return {
    name,
    create({ tokensPerSegment, tokens = tokensPerSegment, options = {}, attention: towers }): VideoReducer {
      const { stage, attention: asked, ...own } = checkReductionOptions(name, options, names);
      const source = otherwise && settleAttention(asked, towers, otherwise);
      const isTowers = source !== undefined && source === towers;
      const byRatio = own.retentionRatio !== undefined;
      const budget = byRatio ? undefined : tokens;
      const given = own as Options;
      const settled = (video: SegmentShape): Options => {
        if (budget === undefined) return given;
        const [least] = method.least(video, given);
        return method.withTokens(video, given, Math.max(least, Math.min(budget, tokensOf(video))));
      };
      const idOptions: ReductionOptions = {
        ...(budget !== undefined && { tokens: budget }),
        ...own,
        // As before towers gave any, so that what was cached then still counts.
        ...(source !== otherwise && { attention: source! }),
      };
      const reducer: VideoReducer = {
        name,
        id: reducerId(name, { ...asText(idOptions), ...(stage === 'projector' && { stage }) }),
        scope: 'video',
        ...(stage === 'projector' && { stage }),
        ...(isTowers && { attention: towers! }),
        count: (video) => method.count(video, settled(video)),
        check(video) {
          method.count(video, settled(video));
          if (budget !== undefined) checkLeast(name, budget, tokensOf(video), method.least(video, given));
          if (method.gathers) checkMemory(name, video);
        },
        start: (video, signal) => method.start(video, settled(video), signal, source),
      };
      return reducesOnDevice(reducer, (video) => {
        const reduce = fitsMemory(video) ? method.onDevice(video, settled(video), source) : undefined;
        return source && reduce ? telling(reduce, source) : reduce;
      });
    },
  };
}

/** The same, whose report says what tokens were ranked by. */
function telling(reduce: ReduceOnDevice, source: AttentionSource): ReduceOnDevice {
  return async (embeddings, call) => {
    const reduced = await reduce(embeddings, call);
    return { ...reduced, report: withAttention(reduced.report, source) };
  };
}

export const tokensOf = ({ frames, patches }: SegmentShape) => frames * patches;

function asText(options: ReductionOptions): Record<string, string | number> {
  return Object.fromEntries(
    Object.entries(options).map(([key, value]) => [key, typeof value === 'boolean' ? String(value) : value]),
  );
}

function checkLeast(name: string, budget: number, all: number, [least, reason]: readonly [number, string]): void {
  if (Math.min(budget, all) >= least) return;
  throw new RangeError(
    `Expected at least ${least} local tokens of a video for the reduction '${name}', as ${reason}, but received a budget of ${budget}. Raise tokens (--tokens), which global tokens come off, take fewer frames, or another reduction`,
  );
}

/** Values that may be gathered: 4 GiB. */
const maxValues = 2 ** 30;

const fitsMemory = ({ frames, patches, channels }: SegmentShape) => frames * patches * channels <= maxValues;

function checkMemory(name: string, video: SegmentShape): void {
  if (fitsMemory(video)) return;
  const { frames, patches, channels } = video;
  const needed = ((frames * patches * channels * 4) / 2 ** 30).toFixed(1);
  throw new RangeError(
    `Expected a video of at most ${Math.floor(maxValues / (patches * channels))} frames or steps for the reduction '${name}', which needs all of its tokens in memory: ${frames} with ${patches} tokens of ${channels} channels are ${needed} GiB, above the limit of 4 GiB. Take fewer frames, or a reduction that does not, such as evs, aim, uniform or merge`,
  );
}

/** Tokens [count, width], of those [count, channels] that may have rows for later layers behind their embeddings. */
export function embeddingsOf(tokens: Float32Tensor, { channels, width = channels }: SegmentShape): Float32Tensor {
  if (width === channels) return tokens;
  const count = tokens.dims[0]!;
  const embeddings = new Float32Array(count * width);
  for (let token = 0; token < count; token++)
    embeddings.set(tokens.data.subarray(token * channels, token * channels + width), token * width);
  return float32Tensor(embeddings, [count, width]);
}

/**
 * Embeddings with the rows for later layers of the tokens that stand in their places.
 * @param embeddings [K, width]
 * @param rows for each of them its index in `tokens`
 * @param tokens [count, channels]
 */
export function withRows(
  embeddings: Float32Tensor,
  rows: Int32Array,
  tokens: Float32Tensor,
  { channels, width = channels }: SegmentShape,
): Float32Tensor {
  if (width === channels) return embeddings;
  const whole = new Float32Array(rows.length * channels);
  for (const [index, row] of rows.entries()) {
    whole.set(embeddings.data.subarray(index * width, (index + 1) * width), index * channels);
    whole.set(tokens.data.subarray(row * channels + width, (row + 1) * channels), index * channels + width);
  }
  return float32Tensor(whole, [rows.length, channels]);
}

/**
 * Gathers all tokens, and reduces them in the end.
 * @param source what `reduce` ranks tokens by, which the report says
 * @param reduce gets the embeddings [frames, patches, width] and, where `source` is the tower's, the attention [frames, patches]
 */
export function gathering(
  video: SegmentShape,
  source: AttentionSource | undefined,
  reduce: (embeddings: Float32Tensor, attention: Float32Tensor | undefined) => Promise<ReducedVideo>,
): VideoReduction {
  const { frames, patches, channels, width = channels } = video;
  const data = new Float32Array(frames * patches * channels);
  const isTowers = source === 'cls' || source === 'pooling';
  const attention = isTowers ? float32Tensor(new Float32Array(frames * patches), [frames, patches]) : undefined;
  let filled = 0;
  return {
    async add(tokens, given) {
      data.set(tokens.data, filled * channels);
      attention?.data.set(given!.data, filled);
      filled += tokens.dims[0]!;
    },
    async finish() {
      const tokens = float32Tensor(data, [frames * patches, channels]);
      const embeddings = embeddingsOf(tokens, video);
      const reduced = await reduce(float32Tensor(embeddings.data, [frames, patches, width]), attention);
      const report = source ? withAttention(reduced.report, source) : reduced.report;
      return reducedTokens(
        { ...reduced, report },
        withRows(reduced.tokens as Float32Tensor, reduced.indices, tokens, video),
      );
    },
  };
}

function reducedTokens({ sizes, indices, owners, report }: ReducedVideo, tokens: Float32Tensor): ReducedVideoTokens {
  return { tokens, sizes, positions: indices, ...(owners && { owners }), report };
}
