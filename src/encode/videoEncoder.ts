import { withCallbacks } from '../base/callbacks.js';
import { LongVLMError } from '../base/errors.js';
import { areSame, fileStates } from '../base/fileState.js';
import type { OnProgress } from '../base/progress.js';
import {
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  checkSignal,
  checkString,
  wrongType,
  wrongValue,
} from '../base/validate.js';
import type { VideoRuns } from '../base/videoRun.js';
import { Projector } from '../projector/projector.js';
import { attentionOf } from '../reduce/reducer.js';
import { frameGeometry } from '../tower/pixels.js';
import { type VisionPrecision, visionPrecisions } from '../tower/precision.js';
import type { TowerSource, VisionConfig } from '../tower/source.js';
import { Tower } from '../tower/tower.js';
import type { FrameGeometry } from '../video/geometry.js';
import { checkLimits, type VideoLimits } from '../video/limits.js';
import { openVideo } from '../video/openVideo.js';
import { isRemote, type VideoInput } from '../video/videoInput.js';
import { encodeVideo, type InnerOptions, projectedBy, type VideoModels } from './encodeVideo.js';
import { checkCache, FeaturesCache } from './featuresCache.js';
import { tellsOwners } from './owners.js';
import { expectedRuns } from './runs.js';
import {
  checkSampling,
  isSampledAs,
  keepsPlaces,
  overlay,
  type SamplingRequest,
  type SettledSampling,
  samplingIdentity,
  samplingKeys,
  settleSampling,
} from './sampling.js';
import { type OpenedInput, SharedEncodings } from './sharedEncodings.js';
import { countTokens, ofPart, type VideoFeatures, type VideoPart } from './videoFeatures.js';

/** Options of {@link VideoEncoder.create}: the vision tower, and the default sampling of all requests. */
export type VideoEncoderOptions = SamplingRequest & {
  /**
   * The vision tower: a Hugging Face folder or the weights in it (`.safetensors`, `.bin`, or the index of several), or an
   * mmproj `.gguf` file.
   */
  vision: string;
  /**
   * Precision of the tower: `float32`; `float16`, for GPUs; or `int8`, for CPUs, which is faster and less exact (see
   * docs/models.md). Defaults to `float32`.
   */
  visionPrecision?: VisionPrecision | undefined;
  /** `cpu`, `auto` (a GPU that works, else the CPU), or an execution provider of ONNX Runtime: `cuda`, `cuda:1` for the second GPU. Defaults to `auto`. */
  device?: string | undefined;
  /** Threads on the CPU. Defaults to the number of cores. */
  threads?: number | undefined;
  /** Starts the tower when the first video is encoded. Defaults to `false`. */
  lazy?: boolean | undefined;
  /**
   * Where features of encoded videos are cached: `true` for the user's cache, which the `longvlm` command also uses (see
   * {@link FeaturesCache.openDefault}), or a {@link FeaturesCache}. Defaults to `false`.
   */
  cache?: boolean | FeaturesCache | undefined;
  /** Path of the ffmpeg program. Defaults to `FFMPEG_PATH`, then the package ffmpeg-static, then `PATH`. */
  ffmpeg?: string | undefined;
  /** Limits of what is fetched and decoded, and whether playlists are read, for each video. Its own limits replace them. */
  limits?: VideoLimits | undefined;
  /**
   * Needed by a reducer of stage `projector`, unless the tower's tokens are embeddings already. The encoder uses it but does not
   * dispose it.
   */
  projector?: Projector | undefined;
  /** Called while weights are converted to another type. */
  onProgress?: OnProgress | undefined;
  signal?: AbortSignal | null | undefined;
};

/** Options of {@link VideoEncoder.encode}. */
export type EncodeOptions = {
  /** How this video is sampled and reduced. Each value replaces the encoder's default. */
  sampling?: SamplingRequest | undefined;
  /** Where features are cached. Defaults to {@link VideoEncoderOptions.cache}. */
  cache?: boolean | FeaturesCache | undefined;
  /** Limits of what is fetched and decoded, and whether playlists are read. */
  limits?: VideoLimits | undefined;
  /** Called while a video is fetched, read and encoded. */
  onProgress?: OnProgress | undefined;
  signal?: AbortSignal | null | undefined;
};

/**
 * Encodes videos to features: reads frames, runs the vision tower, reduces the patches, and caches the result. Needs neither
 * a projector nor a language model.
 *
 * @example
 * ```ts
 * const encoder = await VideoEncoder.create({ vision: 'clip-vit-large-patch14' });
 * try {
 *   const features = await encoder.encode('talk.mp4', { sampling: { start: 60, end: 120, frames: 40 } });
 *   await features.save('talk.safetensors');
 * } finally {
 *   await encoder.dispose();
 * }
 * ```
 */
export class VideoEncoder {
  readonly #tower: Tower;
  readonly #defaults: SamplingRequest;
  #projector: Projector | undefined;
  readonly #cache: boolean | FeaturesCache;
  readonly #ffmpeg: string | undefined;
  readonly #limits: VideoLimits | undefined;
  readonly #shared = new SharedEncodings();

  private constructor(tower: Tower, options: VideoEncoderOptions) {
    this.#tower = tower;
    this.#defaults = overlay(options);
    this.#projector = options.projector;
    this.#cache = options.cache ?? false;
    this.#ffmpeg = options.ffmpeg;
    this.#limits = options.limits;
  }

  /**
   * Checks options and weights, and starts the tower unless it is lazy.
   * @throws TypeError or RangeError for a wrong option, or one that does not fit the tower; LongVLMError `ERR_LONGVLM_FILE`,
   *   `ERR_LONGVLM_WEIGHTS`, `ERR_LONGVLM_UNSUPPORTED`, `ERR_LONGVLM_INFERENCE`; `signal.reason`
   */
  static async create(options: VideoEncoderOptions): Promise<VideoEncoder> {
    const encoder = await VideoEncoder.open(options);
    try {
      encoder.settle();
      return encoder;
    } catch (error) {
      await encoder.dispose();
      throw error;
    }
  }

  /** As {@link create}, but without checking that the defaults fit the tower: for describing a tower. @internal */
  static open(options: VideoEncoderOptions): Promise<VideoEncoder> {
    return withCallbacks(
      options,
      ['onProgress'],
      (guarded) => VideoEncoder.#open(guarded),
      (encoder) => encoder.dispose(),
    );
  }

  static async #open(options: VideoEncoderOptions): Promise<VideoEncoder> {
    checkSampling(checkObject('options', options));
    const path = checkString('vision', options.vision);
    const precision = checkOneOf('visionPrecision', options.visionPrecision ?? 'float32', visionPrecisions);
    const device = checkString('device', options.device ?? 'auto');
    const { threads, lazy = false, cache, ffmpeg, limits, projector, onProgress } = options;
    if (threads !== undefined) checkInteger('threads', threads, 1);
    if (typeof lazy !== 'boolean') wrongType('lazy', 'boolean', lazy);
    if (cache !== undefined) checkCache(cache);
    if (ffmpeg !== undefined) checkString('ffmpeg', ffmpeg);
    checkLimits(limits);
    if (projector !== undefined && !(projector instanceof Projector)) wrongType('projector', 'Projector', projector);
    if (onProgress !== undefined) checkFunction('onProgress', onProgress);
    const signal = checkSignal(options.signal);
    signal?.throwIfAborted();
    const tower = await Tower.open({ path, precision, device, threads, lazy, onProgress, signal });
    return new VideoEncoder(tower, options);
  }

  /** Input and output sizes of the tower. */
  get config(): VisionConfig {
    return this.#tower.config;
  }

  /** Further properties of the tower by name, such as `layers`. */
  get details(): TowerSource['details'] {
    return this.#tower.details;
  }

  /** What its tokens are, if the tower's graph ends with its projector; undefined if they still have to be projected. */
  get projection(): TowerSource['projection'] {
    return this.#tower.projection;
  }

  /** The embedding that stands once behind all tokens of a video, where its model has one. @internal */
  get ending(): Float32Array | undefined {
    return this.#tower.ending;
  }

  /** The prompt layout that its model was trained with, if it has one of its own. @internal */
  get template(): TowerSource['template'] {
    return this.#tower.template;
  }

  /** The projector that a reducer of stage `projector` stands behind, for encoders opened without. @internal */
  useProjector(projector: Projector): void {
    this.#projector = projector;
  }

  /** Which hidden states its patches are. @internal */
  get patchStates(): TowerSource['patchStates'] {
    return this.#tower.patchStates;
  }

  get precision(): VisionPrecision {
    return this.#tower.precision;
  }

  /** Identity of the vision tower, as {@link VideoFeatures.tower} holds it. */
  get identity(): string {
    return this.#tower.identity;
  }

  /** ONNX Runtime's execution provider that the tower runs on; undefined before the tower is started. */
  get device(): string | undefined {
    return this.#tower.device;
  }

  /**
   * Resolves how a video will be sampled.
   * @param request each value replaces the encoder's default
   * @throws TypeError or RangeError for a value that is wrong, or does not fit the tower or another value
   */
  settle(request: SamplingRequest = {}): SettledSampling {
    checkSampling(request);
    const keys: readonly string[] = samplingKeys;
    for (const key of Object.keys(request))
      if (!keys.includes(key)) wrongValue('a key of sampling', `one of ${keys.join(', ')}`, key);
    const settled = this.#settleFor(request, this.config);
    if (settled.reducer.stage === 'projector' && !this.#projector && !this.projection)
      throw new TypeError(
        `Expected a projector in options but received undefined; the reduction '${settled.reduction}' stands behind it`,
      );
    return settled;
  }

  /**
   * Number of tokens that a video will have, known before the video is opened; with `fps`, for a single segment. Of
   * frames of any size the least number.
   * @throws as {@link settle}
   */
  tokenCountOf(part: VideoPart, request: SamplingRequest = {}): number {
    const { frames, segmentFrames, globalLayers, ...settled } = this.settle(request);
    const { cell, framesPerStep = 1 } = this.config;
    // All tokens of frames whose size is not known are at least one for each step.
    const isOpen = cell !== undefined && settled.reducer.name === 'all';
    const tokensPerSegment = isOpen ? segmentFrames / framesPerStep : settled.tokensPerSegment;
    const segments = (frames ?? segmentFrames) / segmentFrames;
    return countTokens(part, globalLayers, segments * tokensPerSegment);
  }

  /** The runs that a video will have, as far as they are known before it is opened; with `fps`, for a single segment. @internal */
  expectedRuns(part: VideoPart, request: SamplingRequest = {}): VideoRuns {
    const { frames, segmentFrames, tokensPerSegment, globalLayers, reducer } = this.settle(request);
    const { framesPerStep = 1, grid: frame } = this.config;
    const segments = (frames ?? segmentFrames) / segmentFrames;
    const grid = { steps: segmentFrames / framesPerStep, rows: frame[0], columns: frame[1] };
    const reduced = { segments, segmentFrames, tokensPerSegment, globalLayers, grid };
    return ofPart(part, expectedRuns(reduced, keepsPlaces(reducer)));
  }

  /**
   * Samples and encodes a video, and reduces its tokens.
   * @param input a path or URL of a video, an animation or a still image; its bytes; a stream of them; or pictures in order
   * @throws TypeError or RangeError for a wrong argument; LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_VIDEO`,
   *   `ERR_LONGVLM_FETCH`, `ERR_LONGVLM_FFMPEG_MISSING`, `ERR_LONGVLM_NOT_FINITE` when the tower outputs NaN,
   *   `ERR_LONGVLM_INFERENCE`, `ERR_LONGVLM_DISPOSED`; or `signal.reason`
   */
  encode(input: VideoInput, options: EncodeOptions = {}): Promise<VideoFeatures> {
    return withCallbacks(options, ['onProgress'], (guarded) => this.#encodeInput(input, guarded));
  }

  /** As {@link encode}, and tells the runs of the video's tokens before its first frame is decoded. @internal */
  encodePlanned(input: VideoInput, options: EncodeOptions & InnerOptions): Promise<VideoFeatures> {
    return withCallbacks(options, ['onProgress', 'onPlanned'], (guarded) => this.#encodeInput(input, guarded));
  }

  async #encodeInput(input: VideoInput, options: EncodeOptions & InnerOptions): Promise<VideoFeatures> {
    const { onProgress, limits, cache = this.#cache } = checkObject('options', options);
    if (onProgress !== undefined) checkFunction('onProgress', onProgress);
    checkCache(cache);
    const signal = checkSignal(options.signal);
    signal?.throwIfAborted();
    if (this.disposed) throw new LongVLMError('ERR_LONGVLM_DISPOSED', 'This VideoEncoder was disposed. Make it again.');
    if (limits !== undefined) checkObject('limits', limits);
    const { sampling: asked = {}, onPlanned, scheduler, owners = false, whileOpen } = options;
    const sampling = this.settle(asked);
    const request = overlay(asked);
    const open = () =>
      openVideo(input, {
        ...(this.#ffmpeg !== undefined && { ffmpeg: this.#ffmpeg }),
        limits: { ...this.#limits, ...limits },
        ...(onProgress && { onProgress }),
        ...(signal && { signal }),
      });
    const video = await (scheduler ? scheduler.run(isRemote(input) ? 'fetch' : 'decode', open, signal) : open());
    const before = await fileStates(video.paths);
    const ofVideo: Parameters<typeof encodeVideo>[4]['ofVideo'] = (frames, shape) =>
      this.#settleFor({ ...request, fps: undefined, frames }, { ...this.config, ...shape });
    let encoding: Promise<unknown> = Promise.resolve();
    const encode = (signal: AbortSignal | undefined, onProgress: OnProgress | undefined) => {
      const told = { onPlanned, onProgress, signal, scheduler, owners };
      const features = encodeVideo(this.#models, video, before, sampling, { ofVideo, ...told });
      encoding = features.catch(() => {});
      return features;
    };
    try {
      const isList = typeof input === 'object' && 'frames' in input;
      const opened = { video, isList, before, identity: await this.#identityOf(sampling) };
      let features =
        cache === false
          ? await this.#shared.run(opened, encode, { scheduler, owners, onProgress, signal })
          : await this.#throughCache(cache, opened, sampling, encode, onProgress, signal);
      const areMissing = owners && features.owners === undefined && tellsOwners(sampling.reducer);
      if (areMissing) features = await encode(signal, onProgress);
      await whileOpen?.(video, features);
      return features;
    } finally {
      // Equal requests share an encoding, which continues when the request that started it is aborted.
      const disposed = encoding.then(() => video.dispose());
      if (signal?.aborted) disposed.catch(() => {});
      else await disposed;
    }
  }

  /** How the frames of features were made for the tower. @internal */
  geometryOf({ source, grid, sampling }: VideoFeatures): FrameGeometry {
    const shape = this.#tower.shapeOfGrid(grid) ?? this.#tower.shapeOf({ ...source, frames: sampling.frames });
    return frameGeometry(this.config, sampling.resize, shape);
  }

  /** Frees the tower once running calls are done; the next video starts it again. */
  release(): Promise<void> {
    return this.#tower.release();
  }

  get disposed(): boolean {
    return this.#tower.disposed;
  }

  /** Waits for running calls, then frees the tower. Safe to call twice. */
  dispose(): Promise<void> {
    return this.#tower.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  get #models(): VideoModels {
    return { tower: this.#tower, projector: this.#projector };
  }

  #settleFor(request: SamplingRequest, config: VisionConfig): SettledSampling {
    return settleSampling(overlay(this.#defaults, request), config, this.#projector?.outChannels, this.projection);
  }

  /** What features depend on beside the video. */
  async #identityOf(sampling: SettledSampling) {
    const projector = projectedBy(this.#models, sampling.reducer);
    const attention = attentionOf(sampling.reducer) && (await this.#tower.attentionIdentity());
    return { tower: this.identity, projector, sampling: samplingIdentity(sampling), ...(attention && { attention }) };
  }

  async #throughCache(
    cache: true | FeaturesCache,
    { video, before, identity }: OpenedInput,
    sampling: SettledSampling,
    encode: (signal: AbortSignal, onProgress: OnProgress) => Promise<VideoFeatures>,
    onProgress: OnProgress | undefined,
    signal: AbortSignal | undefined,
  ): Promise<VideoFeatures> {
    const total = sampling.frames ?? 0;
    onProgress?.({ stage: 'probe', done: 0, total, unit: 'frames', name: video.name });
    const kept = cache === true ? await FeaturesCache.openDefault() : cache;
    const features = await kept.featuresOf(
      {
        content: (signal) => video.contentHash(signal),
        name: video.name,
        identity,
        matches: (features) =>
          features.tower === this.identity &&
          features.projector === projectedBy(this.#models, sampling.reducer) &&
          isSampledAs(features.sampling, sampling, this.config),
        isSame: async () => areSame(before, await fileStates(video.paths)),
      },
      encode,
      signal,
      onProgress,
    );
    const { frames } = features.sampling;
    onProgress?.({ stage: 'encode', done: frames, total: frames, unit: 'frames', name: video.name });
    return features;
  }
}
