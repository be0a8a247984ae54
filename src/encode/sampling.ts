// How a video is sampled: what a request asks for, settled for a tower, and what was really used.
import { checkInteger, checkNumber, checkObject, checkOneOf, wrongValue } from '../base/validate.js';
import type { Reducer, SegmentShape } from '../reduce/reducer.js';
import { checkReduction, makeReducer, type Reduction } from '../reduce/reducers.js';
import type { VisionConfig } from '../tower/source.js';

/** How frames are made square: CLIP's own way, the reference loader's, or LLaVA-1.5's. */
export type Resize = 'crop' | 'squash' | 'pad';

/** The names of {@link Resize}. */
export const resizes = ['crop', 'squash', 'pad'] as const satisfies readonly Resize[];

/** How a video was sampled and reduced. */
export type Sampling = {
  /** Frames taken from the video, or from its part (T). */
  readonly frames: number;
  /** Frames in one segment (K). */
  readonly segmentFrames: number;
  /** Tokens kept of each segment (M). */
  readonly tokensPerSegment: number;
  /** Last hidden states whose [CLS] is kept (E); `0` for none. */
  readonly globalLayers: number;
  /** How frames were made square. */
  readonly resize: Resize;
  /** How a segment's patches became few. */
  readonly reduction: Reduction;
  /** Groups of channels whose mean decides what is merged; of `merge` alone. */
  readonly mergeHeads?: number;
  /** The part that frames were taken from, in seconds from the video's start; left out for all of it. */
  readonly start?: number;
  readonly end?: number;
  /** Frames a second, where a number of them was not given: those that were really taken. */
  readonly fps?: number;
};

/** What can be said of one request, or as the default of all. */
export type SamplingRequest = {
  /** Frames sampled uniformly (T); a multiple of `segmentFrames`. Defaults to `100`. */
  frames?: number | undefined;
  /** Frames a second, in place of `frames`: rounded to whole segments, one at least. */
  fps?: number | undefined;
  /** Where the wanted part begins, in seconds from the video's start. Defaults to `0`. */
  start?: number | undefined;
  /** Where it ends. Defaults to the end of the video. */
  end?: number | undefined;
  /** Frames in one short-term segment (K). Defaults to `10`. */
  segmentFrames?: number | undefined;
  /** Tokens kept of each segment (M). Defaults to `30`. */
  tokensPerSegment?: number | undefined;
  /**
   * Last hidden states whose [CLS] makes the global semantics (E), `0` for none. Defaults to `5`, or to as many as the tower
   * has.
   */
  globalLayers?: number | undefined;
  /** Groups of channels whose mean decides what is merged. Defaults to the tower's attention heads. */
  mergeHeads?: number | undefined;
  /** Defaults to `crop`. */
  resize?: Resize | undefined;
  /**
   * How a segment's K·N patch tokens become `tokensPerSegment`. `merge`: the most similar ones are merged, LongVLM's way.
   * To compare with: `pool` averages as many consecutive ones, in frame order, into each token; `subsample` takes tokens
   * at even distances and drops the others. Or the name of a registered reducer, or a {@link Reducer} itself. Defaults to
   * `merge`.
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

/** What holds where nobody says anything. */
export const defaultSampling = {
  frames: 100,
  segmentFrames: 10,
  tokensPerSegment: 30,
  globalLayers: 5,
  resize: 'crop',
  reduction: 'merge',
} as const satisfies SamplingRequest;

/** A sampling with everything that can be known before the video is. */
export type SettledSampling = Omit<Sampling, 'frames'> & {
  /** Undefined where `fps` decides. */
  readonly frames: number | undefined;
  readonly reducer: Reducer;
};

/** @throws TypeError or RangeError for a value that is wrong whatever the tower is */
export function checkSampling(request: SamplingRequest): void {
  checkObject('sampling', request);
  const { frames, fps, start, end, globalLayers, resize, reduction } = request;
  for (const name of ['frames', 'segmentFrames', 'tokensPerSegment', 'mergeHeads'] as const)
    if (request[name] !== undefined) checkInteger(name, request[name], 1);
  if (globalLayers !== undefined) checkInteger('globalLayers', globalLayers, 0);
  if (fps !== undefined && !(checkNumber('fps', fps, 0) > 0 && fps < Number.POSITIVE_INFINITY))
    wrongValue('fps', 'number above 0', fps);
  if (frames !== undefined && fps !== undefined)
    throw new TypeError('Expected one of frames and fps but received both');
  if (start !== undefined) checkNumber('start', start, 0);
  if (end !== undefined && !(checkNumber('end', end, 0) > (start ?? 0)))
    wrongValue('end', `number above start (${start ?? 0})`, end);
  if (resize !== undefined) checkOneOf('resize', resize, resizes);
  if (reduction !== undefined) checkReduction(reduction);
}

/** The values that are given, each in place of the one before it. */
export function overlay(...requests: readonly SamplingRequest[]): SamplingRequest {
  const merged: Record<string, unknown> = {};
  for (const request of requests) {
    // A number of frames and a rate take each other's place.
    if (request.frames !== undefined) delete merged.fps;
    if (request.fps !== undefined) delete merged.frames;
    for (const key of samplingKeys) if (request[key] !== undefined) merged[key] = request[key];
  }
  return merged;
}

/**
 * A request with {@link defaultSampling} where it says nothing.
 * @throws RangeError for frames that are no whole segments
 */
export function withDefaults(request: SamplingRequest): SamplingRequest & { segmentFrames: number } {
  const given = overlay(defaultSampling, request) as SamplingRequest & { segmentFrames: number };
  const { frames, segmentFrames } = given;
  if (frames !== undefined && frames % segmentFrames !== 0)
    wrongValue('frames', `multiple of segmentFrames (${segmentFrames})`, frames);
  return given;
}

/**
 * What a request comes to for a tower.
 * @param width channels of the tokens that a reducer behind the projector gets
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
  const globalLayers = request.globalLayers ?? Math.min(defaultSampling.globalLayers, tower.summaries);
  checkInteger('globalLayers', globalLayers, 0, tower.summaries);
  const mergeHeads = given.mergeHeads ?? tower.heads;
  const reducer = makeReducer(given.reduction!, { tokensPerSegment: given.tokensPerSegment!, mergeHeads });
  const shape: SegmentShape = {
    frames: segmentFrames,
    patches: tower.patches,
    grid: tower.grid,
    channels: reducer.stage === 'projector' ? (width ?? tower.channels) : tower.channels,
  };
  reducer.check(shape);
  return {
    frames,
    segmentFrames,
    tokensPerSegment: reducer.count(shape),
    globalLayers,
    resize: given.resize!,
    reduction: reducer.name,
    ...(reducer.name === 'merge' && { mergeHeads }),
    ...(start !== undefined && { start }),
    ...(end !== undefined && { end }),
    ...(fps !== undefined && { fps }),
    reducer,
  };
}

/** All that features depend on beside the video and the models, as plain data. */
export function samplingIdentity({ reducer, ...sampling }: SettledSampling): object {
  return { ...sampling, reducer: reducer.id };
}

/** Whether features were sampled as it was asked: as far as that shows before the video is looked at. */
export function isSampledAs(features: Sampling, { reducer: _, frames, ...wanted }: SettledSampling): boolean {
  const same = ['segmentFrames', 'tokensPerSegment', 'globalLayers', 'resize', 'reduction', 'mergeHeads'] as const;
  if (frames !== undefined && features.frames !== frames) return false;
  return same.every((key) => features[key] === wanted[key]);
}
