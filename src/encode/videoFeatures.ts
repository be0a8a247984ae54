import path from 'node:path';
import { types } from 'node:util';
import { LongVLMError } from '../base/errors.js';
import { readOptions } from '../base/options.js';
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import { checkObject, checkOneOf, checkString, wrongType } from '../base/validate.js';
import type { VideoRun, VideoRuns } from '../base/videoRun.js';
import type { DeviceBuffer, ReductionReport } from '../kernels/index.js';
import type { DeviceTokens } from './deviceTokens.js';
import {
  type FeaturesType,
  featuresBytes,
  parseFeatures,
  readFeatures,
  saveFeatures,
  tokensAs,
} from './featuresFile.js';
import { checkFeatures, type VideoFeaturesInit, type VideoSource } from './featuresInit.js';
import type { VideoTokens } from './gatheredTokens.js';
import { bytesInJson, checkBytes, type FeaturesJson, featuresJson } from './plainFeatures.js';
import { runsOf, type TokenGrid } from './runs.js';
import type { Sampling } from './sampling.js';

export type { VideoFeaturesInit, VideoSource } from './featuresInit.js';

/** Which tokens of a video the language model sees: the global tokens, the segments' local tokens, or both. */
export type VideoPart = 'both' | 'local' | 'global';

export const videoParts = ['both', 'local', 'global'] as const satisfies readonly VideoPart[];

/** @throws TypeError or RangeError if `part` is not a {@link VideoPart} */
export function checkVideoPart(part: unknown): VideoPart {
  return checkOneOf('part', part, videoParts);
}

/** Tokens of a part, given those of both kinds. @throws what {@link checkVideoPart} throws */
export function countTokens(part: VideoPart, global: number, local: number): number {
  return { both: global + local, local, global }[checkVideoPart(part)];
}

/** The runs of a part. */
export function ofPart(part: VideoPart, { runs, durationSeconds }: VideoRuns): VideoRuns {
  if (part === 'both') return { runs, durationSeconds };
  return { runs: runs.filter(({ kind }) => (kind === 'global') === (part === 'global')), durationSeconds };
}

/**
 * Features as they are; those of another installed copy of this package, and what structuredClone() and postMessage() made of some,
 * checked anew; undefined for anything else.
 * @throws TypeError or RangeError for such that are damaged, and for features as JSON
 * @internal
 */
export function featuresOf(value: unknown): VideoFeatures | undefined {
  if (value instanceof VideoFeatures) return value;
  if (typeof value !== 'object' || value === null || types.isProxy(value)) return undefined;
  if (Object.hasOwn(value, 'safetensors'))
    throw new TypeError(
      'Expected VideoFeatures for features but received their JSON. Give what VideoFeatures.from() makes of it.',
    );
  if (!Object.hasOwn(value, 'local')) return undefined;
  const isFeatures = value.constructor?.name === 'VideoFeatures' || cloned.every((name) => Object.hasOwn(value, name));
  return isFeatures ? new VideoFeatures(value as VideoFeaturesInit) : undefined;
}

/** What a clone of features has of its own. */
const cloned = ['local', 'global', 'sizes', 'timestamps', 'sampling', 'tower', 'source'];

/**
 * The features of an encoded video: local tokens of every segment, and global tokens of the whole video. They belong to one
 * vision tower. They do not depend on the language model, nor on the projector unless the reducer has stage `projector`.
 */
export class VideoFeatures {
  /** Merged patch tokens [segments, tokensPerSegment, channels], in temporal order. */
  readonly local: Float32Tensor;
  /** Mean [CLS] of the last hidden states [globalLayers, channels], earliest layer first; no rows if `globalLayers` is 0. */
  readonly global: Float32Tensor;
  /** Patches in each local token [segments, tokensPerSegment]. */
  readonly sizes: Float32Tensor;
  /** Presentation times of the sampled frames, in seconds [frames]. */
  readonly timestamps: Float32Array;
  /**
   * For tokens that were picked unchanged, and all of a video that was reduced as a whole: their places in {@link grid},
   * [segments · tokensPerSegment], ascending in each segment; undefined where tokens were averaged, or all kept.
   */
  readonly positions: Int32Array | undefined;
  /**
   * For each patch of {@link grid} the index of the local token of its segment that it went into, or -1, [segments · patches of a
   * segment]; undefined where `positions` or `grid` alone say it, for methods that do not tell it, for features that were reduced on a
   * GPU, and for those of releases that did not keep it.
   */
  readonly owners: Int32Array | undefined;
  /** The tokens that a segment was reduced from; undefined for features of releases that did not keep it. */
  readonly grid: TokenGrid | undefined;
  /** What the reduction did, of a video that was reduced as a whole; undefined else. */
  readonly report: ReductionReport | undefined;
  readonly sampling: Sampling;
  /** Identity of the vision tower. */
  readonly tower: string;
  /** Identity of the projector whose output the tokens are; undefined if they are the tower's and still have to be projected. */
  readonly projector: string | undefined;
  readonly source: VideoSource;
  /** Where the tokens are until somebody looks at them. */
  #onDevice: DeviceTokens | undefined;
  readonly #isChecked = true;

  /** No proxy, and no object that only has the prototype. @internal */
  static [Symbol.hasInstance](value: unknown): value is VideoFeatures {
    return typeof value === 'object' && value !== null && #isChecked in value;
  }

  /** @throws TypeError or RangeError when something is missing, or does not fit the rest */
  constructor(init: VideoFeaturesInit) {
    const read = checkFeatures(init);
    this.local = read.local;
    this.global = read.global;
    this.sizes = read.sizes;
    this.timestamps = read.timestamps;
    this.positions = read.positions;
    this.owners = read.owners;
    this.grid = read.grid;
    this.report = read.report;
    this.sampling = read.sampling;
    this.tower = read.tower;
    this.projector = read.projector;
    this.source = read.source;
  }

  /** Features of tokens that may be on a GPU still: they come down when they are read. @internal */
  static of({ onDevice, ...tokens }: VideoTokens, rest: Omit<VideoFeaturesInit, keyof VideoTokens>): VideoFeatures {
    const features = new VideoFeatures({ ...tokens, ...rest });
    features.#onDevice = onDevice;
    for (const tensor of [features.local, features.global, features.sizes]) onDevice?.fillWhenRead(tensor);
    return features;
  }

  get segments(): number {
    return this.local.dims[0]!;
  }

  get channels(): number {
    return this.local.dims[2]!;
  }

  /** Which part of the video its tokens stand for, in the order of {@link tokens}. */
  get runs(): readonly VideoRun[] {
    return this.runsOf('both').runs;
  }

  /** The runs of a part, with the places of their tokens. @internal */
  runsOf(part: VideoPart): VideoRuns {
    const { segmentFrames, tokensPerSegment, globalLayers } = this.sampling;
    const { segments, grid, positions, timestamps } = this;
    const { durationSeconds } = this.source;
    return ofPart(
      checkVideoPart(part),
      runsOf({
        ...{ segments, segmentFrames, tokensPerSegment, globalLayers, grid, positions, timestamps, durationSeconds },
        end: this.sampling.end ?? durationSeconds,
      }),
    );
  }

  /** Number of tokens that the language model sees: global and local together. */
  get tokenCount(): number {
    return this.tokenCountOf('both');
  }

  /** Number of global tokens, local tokens, or both. */
  tokenCountOf(part: VideoPart): number {
    return countTokens(part, this.global.dims[0]!, this.segments * this.local.dims[1]!);
  }

  /**
   * Global and local tokens in the order that the projector takes [tokens, channels]. The result may be a view of the features'
   * memory: do not write to it.
   * @param part which tokens. Defaults to `both`.
   * @throws RangeError if there are none of that kind
   */
  tokens(part: VideoPart = 'both'): Float32Tensor {
    const count = this.checkPart(part);
    const dims = [count, this.channels];
    const [global, local] = [this.global.data, this.local.data];
    if (part !== 'both') return float32Tensor(part === 'local' ? local : global, dims);
    if (global.buffer === local.buffer && global.byteOffset + global.byteLength === local.byteOffset)
      return float32Tensor(new Float32Array(global.buffer, global.byteOffset, count * this.channels), dims);
    const data = new Float32Array(count * this.channels);
    data.set(global);
    data.set(local, global.length);
    return float32Tensor(data, dims);
  }

  /** The number of tokens of a part. @throws RangeError if there are none. @internal */
  checkPart(part: VideoPart): number {
    const count = this.tokenCountOf(part);
    if (count > 0) return count;
    throw new RangeError(
      `Expected both or local for part but received '${part}': the features of ${this.source.name} have no global tokens (globalLayers 0)`,
    );
  }

  /** What {@link tokens} gives, in the memory of the GPU if nobody has looked at it; to be disposed. @internal */
  tokensOnDevice(part: VideoPart): DeviceBuffer | undefined {
    const global = this.tokenCountOf('global');
    const all = this.tokenCountOf('both');
    const [from, to] = { both: [0, all], local: [global, all], global: [0, global] }[part] as [number, number];
    return to > from ? this.#onDevice?.rows(from, to) : undefined;
  }

  /** Makes sure that the tokens are on the host, where reading them takes no time. @internal */
  async bringDown(): Promise<void> {
    await this.#onDevice?.bringDown();
  }

  /**
   * Writes a safetensors file: `local`, `global`, `sizes`, `timestamps`, and in its metadata the sampling, the video,
   * the tower's identity and this package's version. The file is written atomically. It holds the video's name, and nothing
   * of the folder that the video was in.
   * @param file a new one, or one with features, which is replaced
   * @param options `type`: element type of `local` and `global`. Defaults to `float32`.
   * @throws LongVLMError `ERR_LONGVLM_FILE` when the file cannot be written, or holds something else; RangeError when float16
   *   cannot hold a value
   */
  async save(file: string, options: { type?: FeaturesType } = {}): Promise<void> {
    checkString('file', file);
    checkObject('options', options);
    await this.bringDown();
    await saveFeatures(file, this, checkOneOf('type', options.type ?? 'float32', ['float32', 'float16']));
  }

  /**
   * Reads what {@link save} wrote.
   * @param options `tower`: the expected identity of the tower. Not checked by default.
   * @throws LongVLMError `ERR_LONGVLM_FILE` when it cannot be read, `ERR_LONGVLM_WEIGHTS` when it is damaged or holds
   *   no features, `ERR_LONGVLM_MISMATCH` when it belongs to another tower
   */
  static async load(file: string, options: { tower?: string } = {}): Promise<VideoFeatures> {
    checkString('file', file);
    const { tower } = readOptions(options, ['tower']);
    if (tower !== undefined) checkString('tower', tower);
    const features = new VideoFeatures(await readFeatures(path.resolve(file)));
    if (tower !== undefined) features.checkTower(tower, file);
    return features;
  }

  /**
   * The bytes of the file that {@link save} writes.
   * @param options `type`: element type of `local` and `global`. Defaults to `float32`.
   * @throws RangeError when float16 cannot hold a value
   */
  async toBytes(options: { type?: FeaturesType } = {}): Promise<Uint8Array<ArrayBuffer>> {
    const { type = 'float32' } = readOptions(options, ['type']);
    checkOneOf('type', type, ['float32', 'float16']);
    await this.bringDown();
    return featuresBytes(this, await tokensAs(type, this));
  }

  /**
   * Reads what {@link toBytes} gave, or the content of a file that {@link save} wrote. The features are copies.
   * @param bytes a `Uint8Array`, such as a `Buffer`, or an `ArrayBuffer`, shared ones too
   * @param options `tower`: the expected identity of the tower. Not checked by default.
   * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when they are damaged or hold no features, `ERR_LONGVLM_MISMATCH` when these belong
   *   to another tower
   */
  static async fromBytes(
    bytes: Uint8Array | ArrayBufferLike,
    options: { tower?: string } = {},
  ): Promise<VideoFeatures> {
    const given = checkBytes('bytes', bytes);
    const { tower } = readOptions(options, ['tower']);
    if (tower !== undefined) checkString('tower', tower);
    const features = new VideoFeatures(await parseFeatures(given, 'the given buffer'));
    if (tower !== undefined) features.checkTower(tower);
    return features;
  }

  /** What JSON.stringify() writes; {@link from} reads it. @throws RangeError for more than 256 MB */
  toJSON(): FeaturesJson {
    return featuresJson(this);
  }

  /**
   * Features again, of what `structuredClone()`, `postMessage()` or `JSON.parse(JSON.stringify(features))` made of some. All is checked
   * as for a file, and copied; features are given back as they are.
   * @throws TypeError, RangeError or LongVLMError `ERR_LONGVLM_WEIGHTS` for what holds no features, or damaged ones
   */
  static async from(value: VideoFeaturesInit | FeaturesJson): Promise<VideoFeatures> {
    if (value instanceof VideoFeatures) return value;
    const json = bytesInJson(value);
    if (json) return new VideoFeatures(await parseFeatures(json, 'the given JSON'));
    const features = featuresOf(value) ?? wrongType('features', 'VideoFeatures, or a clone or the JSON of some', value);
    return new VideoFeatures(await parseFeatures(featuresBytes(features), 'the given object'));
  }

  /**
   * @param name name of these features in the error. Defaults to the video's name.
   * @throws LongVLMError `ERR_LONGVLM_MISMATCH` when they were encoded by another tower than `tower`
   */
  checkTower(tower: string, name = `The features of ${this.source.name}`): void {
    if (this.tower === checkString('tower', tower)) return;
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `${name} were made by the vision tower ${this.tower}, not by ${tower}. Encode the video again with this tower.`,
    );
  }

  /**
   * @param width channels of what the projector gives. Not checked by default.
   * @throws LongVLMError `ERR_LONGVLM_MISMATCH` when the features are the output of another projector than `projector`
   */
  checkProjector(projector: string, width = this.channels): void {
    checkString('projector', projector);
    if (this.projector === undefined || (this.projector === projector && this.channels === width)) return;
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `The features of ${this.source.name} are the output of the projector ${this.projector}, not of ${projector}. Encode the video again with this projector.`,
    );
  }
}
