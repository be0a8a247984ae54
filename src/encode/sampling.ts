// How a video is sampled: the request, the values resolved for a tower, and the values that were actually used.
import { type Resize, resizes } from '../base/resize.js';
import { checkInteger, checkObject, checkOneOf, wrongType, wrongValue } from '../base/validate.js';
import { type ReductionOptions, readReductionOptions } from '../reduce/options.js';
import { type Reducer, reducesVideos, type SegmentShape, type VideoReducer } from '../reduce/reducer.js';
import { checkReduction, makeReducer, type Reduction } from '../reduce/reducers.js';
import { frameGeometry } from '../tower/pixels.js';
import type { Projection, VisionConfig } from '../tower/source.js';
import { checkRange } from '../video/selection.js';
import { type PixelBudget, settlePixels } from './pixelBudget.js';

/** How a video was sampled and reduced: the values that were actually used. */
export type Sampling = {
  /** Frames taken from the video, or from the range between `start` and `end` (T). */
  readonly frames: number;
  /** Frames in one segment (K); all of them where the video was reduced as a whole. */
  readonly segmentFrames: number;
  /** Local tokens of each segment (M); where the video was reduced as a whole, all of its local tokens. */
  readonly tokensPerSegment: number;
  /** How many of the last hidden states give a global token, from their [CLS] (E); `0` for none. */
  readonly globalLayers: number;
  /** How frames were made square. */
  readonly resize: Resize;
  /** How a segment's patches, or those of the whole video, were reduced. */
  readonly reduction: Reduction;
  /** The method's own options that were given. */
  readonly reductionOptions?: ReductionOptions;
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
  /**
   * For a vision tower that takes frames of any size, such as Qwen-VL's: the most pixels of a frame, if that is less than its model
   * has, but one token at least. Defaults to 256 tokens for each step (frame, or pair of frames); with a number of `tokens` and no
   * `reduction`, to what they need: then no token is computed to be dropped.
   */
  maxPixels?: number | undefined;
  /** How frames are made square. Defaults to the tower's own way, which is `crop` for most. */
  resize?: Resize | undefined;
  /**
   * How a segment's K·N patch tokens are reduced to `tokensPerSegment`. `merge` merges the most similar tokens, as LongVLM
   * does. `pick` groups tokens in the same way, and keeps of each group the token that is most like the group's mean: for models
   * that tell each token its place. `all` keeps all tokens. Two are for comparison: `pool` averages groups of consecutive tokens
   * in frame order; `subsample` keeps evenly spaced tokens and drops the others.
   *
   * Others reduce the video as a whole, to `tokens` without the global ones, or to `tokensPerSegment` times the segments:
   * `fastvid`, `flashvid`, `vcast`, `evs`, `vidcom2` and `aim` as their papers describe, `uniform` at even distances, `random`. Their
   * tokens keep places, merged ones too. `fastvid`, `flashvid`, `vcast` and `vidcom2` hold all tokens of the video in memory until
   * its end, at most 4 GiB; on a GPU all of these methods do, in its memory, where there is room.
   *
   * Also accepts the name of a registered reducer, a {@link Reducer}, or a {@link VideoReducer}. Defaults to the tower's own,
   * which is `merge` for most, and `pick` for those whose tokens have DeepStack's rows.
   */
  reduction?: Reduction | Reducer | VideoReducer | undefined;
  /**
   * The own options of a method that reduces videos as a whole, such as `{ temperature: 0.5 }` for `vcast`. All of these take
   * `retentionRatio`, a part of all tokens above 0 in place of `tokens` and `tokensPerSegment`, by the paper's own rounding; and
   * `stage`: `projector` reduces what comes out of the projector, as the papers do, in place of what goes in. A method given anew
   * drops the options of the former. Defaults to none: those of the paper.
   *
   * `fastvid` and `flashvid` take `attention`: `cls` and `pooling` are the vision tower's, if its configuration names them; `norm`
   * the lengths of tokens; for `flashvid`, `div` does without. Defaults to `auto`: the tower's, else `norm` for `fastvid` and `div`
   * for `flashvid`. The report says which it was.
   */
  reductionOptions?: ReductionOptions | undefined;
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
  'maxPixels',
  'resize',
  'reduction',
  'reductionOptions',
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
export type SettledSampling = PixelBudget & Omit<Sampling, 'frames'> & Amounts;

/** What is known of amounts, and the reducer. */
type Amounts = {
  /** Undefined if `fps` determines the number of frames. */
  readonly frames: number | undefined;
  readonly maxFrames?: number;
  /** Where the number of frames, or of their tokens, is not known: the budget. `tokensPerSegment` is a guess then. */
  readonly tokens?: number;
  /** Where the video is reduced as a whole: frames that are read and encoded at once. */
  readonly readFrames?: number;
  readonly reducer: Reducer | VideoReducer;
};

/** @throws TypeError or RangeError for a value that is wrong for any tower */
export function checkSampling(request: SamplingRequest): void {
  checkObject('sampling', request);
  const { frames, fps, maxFrames, start, end, tokens, globalLayers, resize, reduction, reductionOptions } = request;
  checkBudget(tokens);
  if (tokens !== undefined && request.tokensPerSegment !== undefined)
    wrongValue('tokens', 'nothing, as tokensPerSegment is given,', tokens);
  for (const name of ['frames', 'segmentFrames', 'tokensPerSegment', 'mergeHeads', 'maxPixels'] as const)
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
  if (reductionOptions === undefined) return;
  if (readReductionOptions(reductionOptions).retentionRatio === undefined) return;
  for (const name of ['tokens', 'tokensPerSegment'] as const)
    if (request[name] !== undefined)
      wrongValue(name, 'nothing, as retentionRatio is given in reductionOptions,', request[name]);
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
    // `frames` and `fps` exclude each other, as amounts of tokens do: the later one wins.
    if (request.frames !== undefined) delete merged.fps;
    if (request.fps !== undefined) delete merged.frames;
    const byRatio = request.reductionOptions?.retentionRatio !== undefined;
    if (request.tokens !== undefined || byRatio) delete merged.tokensPerSegment;
    if (request.tokensPerSegment !== undefined || byRatio) delete merged.tokens;
    if (request.reduction !== undefined) delete merged.reductionOptions;
    if (request.tokens !== undefined || request.tokensPerSegment !== undefined) dropRatio(merged);
    for (const key of samplingKeys) if (request[key] !== undefined) merged[key] = request[key];
  }
  return merged;
}

function dropRatio(request: { reductionOptions?: ReductionOptions }): void {
  if (request.reductionOptions?.retentionRatio === undefined) return;
  const { retentionRatio: _, ...options } = request.reductionOptions;
  request.reductionOptions = options;
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
  const share = typeof tokens === 'number' ? Math.min(shareOf(tokens), most) : given.tokensPerSegment;
  const reduction = request.reduction ?? tower.reduction ?? defaultReduction(projection);
  const options = given.reductionOptions && readReductionOptions(given.reductionOptions);
  const budget = typeof tokens === 'number' ? Math.max(1, tokens - globalLayers) : (share ?? most) * segments;
  const amounts = { tokensPerSegment: share ?? most, tokens: Math.min(budget, segments * most) };
  const { attention } = tower;
  const settings = { ...amounts, mergeHeads, ...(options && { options }), ...(attention && { attention }) };
  const asked = makeReducer(reduction, settings);
  if (tokens === 'all' && reducesVideos(asked))
    wrongValue('tokens', `number, as the reduction '${asked.name}' is asked for,`, tokens);
  const reducer = tokens === 'all' ? makeReducer('all', settings) : asked;
  const isWhole = reducesVideos(reducer);
  if (isWhole && reducer.attention !== undefined && reducer.attention !== attention)
    wrongValue(
      `attention of the reducer ${reducer.id}`,
      attention === undefined
        ? 'nothing, as the vision tower gives none,'
        : `'${attention}', which the vision tower gives,`,
      reducer.attention,
    );
  const together = isWhole && frames !== undefined ? frames : segmentFrames;
  const shape: SegmentShape = {
    frames: together / framesPerStep,
    patches: tower.patches,
    grid: tower.grid,
    channels: reducer.stage === 'projector' ? (width ?? tower.channels) : tower.channels,
    ...(placesTokens(projection) && { width: projection!.width }),
  };
  // How many tokens a video has may be known only once it is opened: then it is checked.
  if (!isWhole || (frames !== undefined && !tower.cell)) reducer.check(shape);
  const tokensPerSegment = checkInteger(`tokens of the reducer ${reducer.id}`, reducer.count(shape), 1);
  if (!isWhole && typeof tokens === 'number' && tokensPerSegment > share!)
    wrongValue('tokens', `nothing, as the reducer ${reducer.id} keeps ${tokensPerSegment} of a segment,`, tokens);
  if (placesTokens(projection) && averaging.has(reducer.name) && tokensPerSegment < most)
    wrongValue('reduction', 'one that keeps tokens in their places, as the language model needs,', reducer.name);
  const { resize } = frameGeometry(tower, request.resize);
  return {
    frames,
    segmentFrames: together,
    tokensPerSegment,
    globalLayers,
    resize,
    reduction: reducer.name,
    ...(options && Object.keys(options).length > 0 && { reductionOptions: options }),
    ...(isWhole && { readFrames: segmentFrames }),
    // Recorded for whoever reads the features; cache keys take it from the reducer's id.
    ...((reducer.name === 'merge' || reducer.name === 'pick') && { mergeHeads }),
    ...(start !== undefined && { start }),
    ...(end !== undefined && { end }),
    ...(fps !== undefined && { fps }),
    ...(fps !== undefined && maxFrames !== undefined && { maxFrames }),
    ...((frames === undefined || tower.cell) && typeof tokens === 'number' && { tokens }),
    ...settlePixels(request, tower),
    reducer,
  };
}

const picking: ReadonlySet<string> = new Set(['pick', 'subsample', 'all']);

/** Whether tokens keep places. */
export function keepsPlaces(reducer: Reducer | VideoReducer): boolean {
  return reducesVideos(reducer) || picking.has(reducer.name);
}

const averaging: ReadonlySet<string> = new Set(['merge', 'pool']);

/** Whether the language model places tokens by time, row and column, and may add DeepStack's rows to them: a mean has no place. */
const placesTokens = (projection: Projection | undefined) =>
  (projection?.rows ?? 1) > 1 || projection?.positionsPerSecond !== undefined;

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
  if (frames !== undefined && features.frames !== frames) return false;
  if (JSON.stringify(features.reductionOptions) !== JSON.stringify(wanted.reductionOptions)) return false;
  const same = ['globalLayers', 'resize', 'reduction', 'mergeHeads'] as const;
  if (same.some((key) => features[key] !== wanted[key])) return false;
  // A reducer of whole videos may leave fewer tokens than it says.
  if (wanted.readFrames !== undefined) return features.segmentFrames === features.frames;
  // How many tokens a reducer leaves may depend on the video's size, and on its length.
  const isCounted = !cell && wanted.tokens === undefined;
  return (
    features.segmentFrames === wanted.segmentFrames &&
    (!isCounted || features.tokensPerSegment === wanted.tokensPerSegment)
  );
}
