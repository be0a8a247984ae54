// How a video is sampled: the request, the values resolved for a tower, and the values that were actually used.
import { type Resize, resizes } from '../base/resize.js';
import { checkInteger, checkObject, checkOneOf, wrongValue } from '../base/validate.js';
import type { Reducer, SegmentShape } from '../reduce/reducer.js';
import { checkReduction, makeReducer, type Reduction } from '../reduce/reducers.js';
import { frameGeometry } from '../tower/pixels.js';
import type { VisionConfig } from '../tower/source.js';
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
  /** Start of the range to sample, in seconds from the video's start. Defaults to `0`. */
  start?: number | undefined;
  /** End of the range to sample, in seconds from the video's start, above `start`. Defaults to the end of the video. */
  end?: number | undefined;
  /** Frames in one short-term segment (K). Defaults to `10`. */
  segmentFrames?: number | undefined;
  /** Local tokens of each segment (M). Defaults to `30`. */
  tokensPerSegment?: number | undefined;
  /**
   * How many of the last hidden states give a global token, from their [CLS] (E); `0` for none. Defaults to `5`, or to as many
   * as the tower has if that is less.
   */
  globalLayers?: number | undefined;
  /**
   * For `merge` and `pick`: groups of channels, a divisor of the tower's channels. Tokens are compared by their mean over the groups.
   * Defaults to the tower's attention heads.
   */
  mergeHeads?: number | undefined;
  /** How frames are made square. Defaults to the tower's own way, which is `crop` for most. */
  resize?: Resize | undefined;
  /**
   * How a segment's K·N patch tokens are reduced to `tokensPerSegment`. `merge` merges the most similar tokens, as LongVLM
   * does. `pick` groups tokens in the same way, and keeps of each group the token that is most like the group's mean: for models
   * that tell each token its place. Two are for comparison: `pool` averages groups of consecutive tokens in frame order; `subsample` keeps evenly spaced
   * tokens and drops the others. Also accepts the name of a registered reducer, or a {@link Reducer}. Defaults to the tower's
   * own, which is `merge` for most.
   */
  reduction?: Reduction | Reducer | undefined;
};

/** The keys of {@link SamplingRequest}. */
export const samplingKeys = [
  'frames',
  'fps',
  'start',
  'end',
  'segmentFrames',
  'tokensPerSegment',
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
  readonly reducer: Reducer;
};

/** @throws TypeError or RangeError for a value that is wrong for any tower */
export function checkSampling(request: SamplingRequest): void {
  checkObject('sampling', request);
  const { frames, fps, start, end, globalLayers, resize, reduction } = request;
  for (const name of ['frames', 'segmentFrames', 'tokensPerSegment', 'mergeHeads'] as const)
    if (request[name] !== undefined) checkInteger(name, request[name], 1);
  if (globalLayers !== undefined) checkInteger('globalLayers', globalLayers, 0);
  checkRange({
    ...(frames !== undefined && { frames }),
    ...(fps !== undefined && { fps }),
    ...(start !== undefined && { start }),
    ...(end !== undefined && { end }),
  });
  if (resize !== undefined) checkOneOf('resize', resize, resizes);
  if (reduction !== undefined) checkReduction(reduction);
}

/** Merges requests: values of later requests replace those of earlier ones. */
export function overlay(...requests: readonly SamplingRequest[]): SamplingRequest {
  const merged: Record<string, unknown> = {};
  for (const request of requests) {
    // `frames` and `fps` exclude each other: the later one wins.
    if (request.frames !== undefined) delete merged.fps;
    if (request.fps !== undefined) delete merged.frames;
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
 * @throws TypeError or RangeError for a value that is wrong, or does not fit the tower or another value
 */
export function settleSampling(
  request: SamplingRequest,
  tower: VisionConfig,
  width: number | undefined,
): SettledSampling {
  checkSampling(request);
  const given = withDefaults(request);
  const { frames, fps, start, end, segmentFrames } = given;
  const { framesPerStep = 1 } = tower;
  if (segmentFrames % framesPerStep !== 0)
    wrongValue(
      'segmentFrames',
      `multiple of ${framesPerStep}, the frames that the vision tower takes as one step,`,
      segmentFrames,
    );
  const globalLayers = request.globalLayers ?? Math.min(defaultSampling.globalLayers, tower.summaries);
  checkInteger('globalLayers', globalLayers, 0, tower.summaries);
  const mergeHeads = given.mergeHeads ?? tower.heads;
  const reducer = makeReducer(request.reduction ?? tower.reduction ?? given.reduction!, {
    tokensPerSegment: given.tokensPerSegment!,
    mergeHeads,
  });
  const shape: SegmentShape = {
    frames: segmentFrames / framesPerStep,
    patches: tower.patches,
    grid: tower.grid,
    channels: reducer.stage === 'projector' ? (width ?? tower.channels) : tower.channels,
  };
  reducer.check(shape);
  const { resize } = frameGeometry(tower, request.resize);
  return {
    frames,
    segmentFrames,
    tokensPerSegment: checkInteger(`tokens of the reducer ${reducer.id}`, reducer.count(shape), 1),
    globalLayers,
    resize,
    reduction: reducer.name,
    // Recorded for whoever reads the features; cache keys take it from the reducer's id.
    ...((reducer.name === 'merge' || reducer.name === 'pick') && { mergeHeads }),
    ...(start !== undefined && { start }),
    ...(end !== undefined && { end }),
    ...(fps !== undefined && { fps }),
    reducer,
  };
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
  // How many tokens a reducer leaves may depend on the video's size.
  const counted = cell ? [] : (['tokensPerSegment'] as const);
  const same = ['segmentFrames', ...counted, 'globalLayers', 'resize', 'reduction', 'mergeHeads'] as const;
  if (frames !== undefined && features.frames !== frames) return false;
  return same.every((key) => features[key] === wanted[key]);
}
