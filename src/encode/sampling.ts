// How a video is sampled: the request, the values resolved for a tower, and the values that were actually used.
import { type Resize, resizes } from '../base/resize.js';
import { checkInteger, checkObject, checkOneOf, wrongType, wrongValue } from '../base/validate.js';
import type { Reducer, SegmentShape } from '../reduce/reducer.js';
import { checkReduction, makeReducer, type Reduction } from '../reduce/reducers.js';
import { frameGeometry } from '../tower/pixels.js';
import type { Projection, VisionConfig } from '../tower/source.js';
import { checkRange } from '../video/selection.js';

/** How a video was sampled and reduced: the values that were actually used. */
export type Sampling = {
  /** Frames taken from the video, or from the range between `start` and `end` (T). */
  readonly frames: number;
  /** Frames in one segment (K). */
  readonly segmentFrames: number;
  /** Local tokens of each segment (M). */
  readonly tokensPerSegment: number;
  /** How many of the last hidden states give a global token, from their [CLS] (E); `0` for none. */
  readonly globalLayers: number;
  /** How frames were made square. */
  readonly resize: Resize;
  /** How a segment's patches were reduced. */
  readonly reduction: Reduction;
  /** For `merge` and `pick`: groups of channels (attention heads). Tokens are compared by their mean over the groups. */
  readonly mergeHeads?: number;
  /** The range of the video that frames were taken from, in seconds from its start; undefined for the whole video. */
  readonly start?: number;
  readonly end?: number;
  /** The actual number of frames per second, if the request gave `fps` and not `frames`. */
  readonly fps?: number;
};

/** Sampling options of one request, or the defaults of all requests. */
export type SamplingRequest = {
  /** Frames sampled uniformly (T); a multiple of `segmentFrames`. Defaults to `100`. */
  frames?: number | undefined;
  /** Frames per second, instead of `frames`. The number of frames is rounded to whole segments, at least one. */
  fps?: number | undefined;
  /** With `fps`: at most this many frames; a longer video gets them evenly. Defaults to no limit. */
  maxFrames?: number | undefined;
  /** Start of the range to sample, in seconds from the video's start. Defaults to `0`. */
  start?: number | undefined;
  /** End of the range to sample, in seconds from the video's start, above `start`. Defaults to the end of the video. */
  end?: number | undefined;
  /** Frames in one short-term segment (K). Defaults to `10`. */
  segmentFrames?: number | undefined;
  /** Local tokens of each segment (M). Defaults to `30`. */
  tokensPerSegment?: number | undefined;
  /**
   * Tokens of the whole video, instead of `tokensPerSegment`. The global tokens come off, and the segments share what is left
   * alike, rounded down, with at least one token each and at most all that it has. `all` reduces nothing: `reduction` is then
   * `all`.
   */
  tokens?: number | 'all' | undefined;
  /**
   * How many of the last hidden states give a global token, from their [CLS] (E); `0` for none. Defaults to `5`, or to as many
   * as the tower has if that is less.
   */
  globalLayers?: number | undefined;
  /**
   * For `merge` and `pick`: groups of channels, a divisor of the tower's channels. Tokens are compared by their mean over the
   * groups. Defaults to the tower's attention heads, and to 1 where its tokens are embeddings already.
   */
  mergeHeads?: number | undefined;
  /** How frames are made square. Defaults to the tower's own way, which is `crop` for most. */
  resize?: Resize | undefined;
  /**
   * How a segment's K·N patch tokens are reduced to `tokensPerSegment`. `merge` merges the most similar tokens, as LongVLM
   * does. `pick` groups tokens in the same way, and keeps of each group the token that is most like the group's mean: for models
   * that tell each token its place. `all` keeps all tokens. Two are for comparison: `pool` averages groups of consecutive tokens
   * in frame order; `subsample` keeps evenly spaced tokens and drops the others. Also accepts the name of a registered reducer,
   * or a {@link Reducer}. Defaults to the tower's own, which is `merge` for most, and `pick` for those whose tokens have
   * DeepStack's rows.
   */
  reduction?: Reduction | Reducer | undefined;
};

/** The keys of {@link SamplingRequest}. */
export const samplingKeys = [
  'frames',
  'fps',
  'maxFrames',
  'start',
  'end',
  'segmentFrames',
  'tokensPerSegment',
  'tokens',
  'globalLayers',
  'mergeHeads',
  'resize',
  'reduction',
] as const satisfies readonly (keyof SamplingRequest)[];

/** Defaults of a request without own values. */
export const defaultSampling = {
  frames: 100,
  segmentFrames: 10,
  tokensPerSegment: 30,
  globalLayers: 5,
  reduction: 'merge',
} as const satisfies SamplingRequest;

/** A sampling with all values that are known before the video is opened. */
export type SettledSampling = Omit<Sampling, 'frames'> & {
  /** Undefined if `fps` determines the number of frames. */
  readonly frames: number | undefined;
  readonly maxFrames?: number;
  /** Where the number of frames, or of their tokens, is not known: the budget. `tokensPerSegment` is a guess then. */
  readonly tokens?: number;
  readonly reducer: Reducer;
};

/** @throws TypeError or RangeError for a value that is wrong for any tower */
export function checkSampling(request: SamplingRequest): void {
  checkObject('sampling', request);
  const { frames, fps, maxFrames, start, end, tokens, globalLayers, resize, reduction } = request;
  checkBudget(tokens);
  if (tokens !== undefined && request.tokensPerSegment !== undefined)
    wrongValue('tokens', 'nothing, as tokensPerSegment is given,', tokens);
  for (const name of ['frames', 'segmentFrames', 'tokensPerSegment', 'mergeHeads'] as const)
    if (request[name] !== undefined) checkInteger(name, request[name], 1);
  if (globalLayers !== undefined) checkInteger('globalLayers', globalLayers, 0);
  checkRange({
    ...(frames !== undefined && { frames }),
    ...(fps !== undefined && { fps }),
    ...(maxFrames !== undefined && { maxFrames }),
    ...(start !== undefined && { start }),
    ...(end !== undefined && { end }),
  });
  if (resize !== undefined) checkOneOf('resize', resize, resizes);
  if (reduction !== undefined) checkReduction(reduction);
}

function checkBudget(tokens: unknown): void {
  if (tokens === undefined || tokens === 'all') return;
  if (typeof tokens === 'string') wrongValue('tokens', "positive integer or 'all'", tokens);
  if (typeof tokens !== 'number') wrongType('tokens', "positive integer or 'all'", tokens);
  checkInteger('tokens', tokens, 1);
}

/** Merges requests: values of later requests replace those of earlier ones. */
export function overlay(...requests: readonly SamplingRequest[]): SamplingRequest {
  const merged: Record<string, unknown> = {};
  for (const request of requests) {
    // `frames` and `fps` exclude each other, as two numbers of tokens do: the later one wins.
    if (request.frames !== undefined) delete merged.fps;
    if (request.fps !== undefined) delete merged.frames;
    if (request.tokens !== undefined) delete merged.tokensPerSegment;
    if (request.tokensPerSegment !== undefined) delete merged.tokens;
    for (const key of samplingKeys) if (request[key] !== undefined) merged[key] = request[key];
  }
  return merged;
}

/**
 * A request with {@link defaultSampling} for missing values.
 * @throws RangeError if `frames` is not a multiple of `segmentFrames`
 */
export function withDefaults(request: SamplingRequest): SamplingRequest & { segmentFrames: number } {
  const given = overlay(defaultSampling, request) as SamplingRequest & { segmentFrames: number };
  const { frames, segmentFrames } = given;
  if (frames !== undefined && frames % segmentFrames !== 0)
    wrongValue('frames', `multiple of segmentFrames (${segmentFrames})`, frames);
  return given;
}

/**
 * Resolves a request for a tower.
 * @param width channels of the projected tokens, which a reducer of stage `projector` takes
 * @param projection what the tower's tokens are, if they are embeddings
 * @throws TypeError or RangeError for a value that is wrong, or does not fit the tower or another value
 */
export function settleSampling(
  request: SamplingRequest,
  tower: VisionConfig,
  width: number | undefined,
  projection?: Projection,
): SettledSampling {
  checkSampling(request);
  const given = withDefaults(request);
  const { frames, fps, maxFrames, start, end, segmentFrames, tokens } = given;
  const { framesPerStep = 1 } = tower;
  if (segmentFrames % framesPerStep !== 0)
    wrongValue(
      'segmentFrames',
      `multiple of ${framesPerStep}, the frames that the vision tower takes as one step,`,
      segmentFrames,
    );
  const globalLayers = request.globalLayers ?? Math.min(defaultSampling.globalLayers, tower.summaries);
  checkInteger('globalLayers', globalLayers, 0, tower.summaries);
  const mergeHeads = given.mergeHeads ?? (projection ? 1 : tower.heads);
  const segments = frames === undefined ? 1 : frames / segmentFrames;
  const shareOf = (budget: number) => Math.max(1, Math.floor((budget - globalLayers) / segments));
  const most = (segmentFrames / framesPerStep) * tower.patches;
  const share = typeof tokens === 'number' ? Math.min(shareOf(tokens), most) : given.tokensPerSegment!;
  const reduction = tokens === 'all' ? 'all' : (request.reduction ?? tower.reduction ?? defaultReduction(projection));
  const reducer = makeReducer(reduction, { tokensPerSegment: share ?? most, mergeHeads });
  const shape: SegmentShape = {
    frames: segmentFrames / framesPerStep,
    patches: tower.patches,
    grid: tower.grid,
    channels: reducer.stage === 'projector' ? (width ?? tower.channels) : tower.channels,
  };
  reducer.check(shape);
  const tokensPerSegment = checkInteger(`tokens of the reducer ${reducer.id}`, reducer.count(shape), 1);
  if (typeof tokens === 'number' && tokensPerSegment > share)
    wrongValue('tokens', `nothing, as the reducer ${reducer.id} keeps ${tokensPerSegment} of a segment,`, tokens);
  if (placesTokens(projection) && averaging.has(reducer.name) && tokensPerSegment < most)
    wrongValue('reduction', 'one that keeps tokens in their places, as the language model needs,', reducer.name);
  const { resize } = frameGeometry(tower, request.resize);
  return {
    frames,
    segmentFrames,
    tokensPerSegment,
    globalLayers,
    resize,
    reduction: reducer.name,
    // Recorded for whoever reads the features; cache keys take it from the reducer's id.
    ...((reducer.name === 'merge' || reducer.name === 'pick') && { mergeHeads }),
    ...(start !== undefined && { start }),
    ...(end !== undefined && { end }),
    ...(fps !== undefined && { fps }),
    ...(fps !== undefined && maxFrames !== undefined && { maxFrames }),
    ...((frames === undefined || tower.cell) && typeof tokens === 'number' && { tokens }),
    reducer,
  };
}

/** Reducers that keep tokens in their places. */
export const picking: ReadonlySet<string> = new Set(['pick', 'subsample', 'all']);
const averaging: ReadonlySet<string> = new Set(['merge', 'pool']);

/** Whether the language model adds DeepStack's rows to a token, and places it by time, row and column: a mean has no place. */
const placesTokens = (projection: Projection | undefined) => (projection?.rows ?? 1) > 1;

function defaultReduction(projection: Projection | undefined): Reduction {
  return placesTokens(projection) ? 'pick' : defaultSampling.reduction;
}

/** Everything that features depend on except the video and the models, as plain data. */
export function samplingIdentity({ reducer, ...sampling }: SettledSampling): object {
  return { ...sampling, reducer: reducer.id };
}

/** Whether features match a request for a tower, as far as this can be known without opening the video. */
export function isSampledAs(
  features: Sampling,
  { reducer: _, frames, ...wanted }: SettledSampling,
  { cell }: VisionConfig,
): boolean {
  // How many tokens a reducer leaves may depend on the video's size, and on its length.
  const counted = cell || wanted.tokens !== undefined ? [] : (['tokensPerSegment'] as const);
  const same = ['segmentFrames', ...counted, 'globalLayers', 'resize', 'reduction', 'mergeHeads'] as const;
  if (frames !== undefined && features.frames !== frames) return false;
  return same.every((key) => features[key] === wanted[key]);
}
