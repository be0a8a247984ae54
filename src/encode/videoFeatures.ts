import path from 'node:path';
import * as v from 'valibot';
import { LongVLMError, messageOf } from '../base/errors.js';
import { resizes } from '../base/resize.js';
import { integer, nonEmptyString, number, parse } from '../base/schema.js';
import { type Float32Tensor, float32Tensor, numberToHalf, type Tensor, toFloat32 } from '../base/tensor.js';
import { checkFinite, checkOneOf, checkString, wrongValue } from '../base/validate.js';
import { version } from '../base/version.js';
import {
  openSafetensors,
  readFloatTensor,
  type TensorData,
  tensorData,
  writeSafetensors,
} from '../files/safetensors.js';
import type { WeightFile } from '../files/tensorFile.js';
import type { Sampling } from './sampling.js';

const formatName = 'longvlm.features';
const formatVersion = '1';

const samplingRecord = v.object({
  frames: integer(1),
  segmentFrames: integer(1),
  tokensPerSegment: integer(1),
  globalLayers: integer(0),
  resize: v.picklist(resizes),
  // Older files have no `reduction`: `merge` was the only one.
  reduction: v.optional(nonEmptyString, 'merge'),
  mergeHeads: v.optional(integer(1)),
  start: v.optional(number(0)),
  end: v.optional(number(0)),
  fps: v.optional(number(0)),
});

const sourceRecord = v.object({
  name: v.string(),
  durationSeconds: number(0),
  frameCount: integer(1),
  width: integer(1),
  height: integer(1),
  warnings: v.array(v.string()),
});

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

/** Properties of the encoded video. */
export type VideoSource = {
  /** Name of the file without its folder, or of the URL; `video` or `pictures` for inputs without a name. */
  readonly name: string;
  readonly durationSeconds: number;
  readonly frameCount: number;
  /** Pixels, as displayed. */
  readonly width: number;
  readonly height: number;
  /** Problems of a file that could still be read, in sentences. */
  readonly warnings: readonly string[];
};

/** Arguments of the {@link VideoFeatures} constructor. */
export type VideoFeaturesInit = {
  local: Float32Tensor;
  global: Float32Tensor;
  sizes: Float32Tensor;
  timestamps: Float32Array;
  sampling: Sampling;
  tower: string;
  /** Identity of the projector, if the tokens are its output. */
  projector?: string | undefined;
  source: VideoSource;
};

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
  readonly sampling: Sampling;
  /** Identity of the vision tower. */
  readonly tower: string;
  /** Identity of the projector whose output the tokens are; undefined if they are the tower's and still have to be projected. */
  readonly projector: string | undefined;
  readonly source: VideoSource;

  constructor(init: VideoFeaturesInit) {
    this.local = init.local;
    this.global = init.global;
    this.sizes = init.sizes;
    this.timestamps = init.timestamps;
    this.sampling = init.sampling;
    this.tower = init.tower;
    this.projector = init.projector;
    this.source = init.source;
  }

  get segments(): number {
    return this.local.dims[0]!;
  }

  get channels(): number {
    return this.local.dims[2]!;
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
    const count = this.tokenCountOf(part);
    if (count === 0)
      throw new RangeError(
        `Expected both or local for part but received '${part}': the features of ${this.source.name} have no global tokens (globalLayers 0)`,
      );
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

  /**
   * Writes a safetensors file: `local`, `global`, `sizes`, `timestamps`, and in its metadata the sampling, the video,
   * the tower's identity and this package's version. The file is written atomically.
   * @param options `type`: element type of `local` and `global`. Defaults to `float32`.
   * @throws LongVLMError `ERR_LONGVLM_FILE` when the file cannot be written; RangeError when float16 cannot hold a value
   */
  async save(file: string, options: { type?: 'float32' | 'float16' } = {}): Promise<void> {
    checkString('file', file);
    const type = checkOneOf('type', options.type ?? 'float32', ['float32', 'float16']);
    const stored = (name: string, tensor: Float32Tensor): TensorData =>
      tensorData(type === 'float16' ? toFloat16(name, tensor) : tensor);
    await writeSafetensors(
      file,
      {
        local: stored('local', this.local),
        global: stored('global', this.global),
        sizes: tensorData(this.sizes),
        timestamps: { type: 'F32', shape: [this.timestamps.length], data: this.timestamps },
      },
      {
        format: formatName,
        format_version: formatVersion,
        longvlm_version: version,
        tower: this.tower,
        ...(this.projector !== undefined && { projector: this.projector }),
        sampling: JSON.stringify(this.sampling),
        video: JSON.stringify(this.source),
      },
    );
  }

  /**
   * Reads what {@link save} wrote.
   * @param options `tower`: the expected identity of the tower. Not checked by default.
   * @throws LongVLMError `ERR_LONGVLM_FILE` when it cannot be read, `ERR_LONGVLM_WEIGHTS` when it is damaged or holds
   *   no features, `ERR_LONGVLM_MISMATCH` when it belongs to another tower
   */
  static async load(file: string, options: { tower?: string } = {}): Promise<VideoFeatures> {
    checkString('file', file);
    const opened = await openSafetensors(path.resolve(file));
    const { metadata } = opened;
    if (metadata.format !== formatName)
      throw damaged(file, 'holds no video features', 'Make it with `longvlm encode` or VideoFeatures.save().');
    if (metadata.format_version !== formatVersion)
      throw damaged(
        file,
        `is of format version ${metadata.format_version}, and this release reads ${formatVersion}`,
        'Encode the video again.',
      );
    const sampling = readSampling(file, metadata);
    const source = parseRecord(file, metadata, 'video', sourceRecord);
    const tower = metadata.tower ?? '';
    const segments = sampling.frames / sampling.segmentFrames;
    const channels = opened.tensors.get('local')?.shape[2] ?? 0;
    const features = new VideoFeatures({
      local: await readShaped(opened, 'local', [segments, sampling.tokensPerSegment, channels]),
      global: await readShaped(opened, 'global', [sampling.globalLayers, channels]),
      sizes: await readShaped(opened, 'sizes', [segments, sampling.tokensPerSegment]),
      timestamps: (await readShaped(opened, 'timestamps', [sampling.frames])).data,
      sampling,
      tower,
      projector: metadata.projector,
      source,
    });
    if (options.tower !== undefined) features.checkTower(options.tower, file);
    return features;
  }

  /**
   * @param name name of these features in the error. Defaults to the video's name.
   * @throws LongVLMError `ERR_LONGVLM_MISMATCH` when they were encoded by another tower than `tower`
   */
  checkTower(tower: string, name = `The features of ${this.source.name}`): void {
    if (this.tower === tower) return;
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `${name} were made by the vision tower ${this.tower}, not by ${tower}. Encode the video again with this tower.`,
    );
  }

  /** @throws LongVLMError `ERR_LONGVLM_MISMATCH` when the features are the output of another projector than `projector` */
  checkProjector(projector: string): void {
    if (this.projector === undefined || this.projector === projector) return;
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `The features of ${this.source.name} are the output of the projector ${this.projector}, not of ${projector}. Encode the video again with this projector.`,
    );
  }
}

function damaged(file: string, cause: string, remedy = 'Encode the video again.'): LongVLMError {
  return new LongVLMError('ERR_LONGVLM_WEIGHTS', `${file} ${cause}. ${remedy}`);
}

/** Parses a JSON record of the metadata. */
function parseRecord<const Schema extends v.GenericSchema>(
  file: string,
  metadata: Readonly<Record<string, string>>,
  key: string,
  schema: Schema,
): v.InferOutput<Schema> {
  try {
    return parse(schema, JSON.parse(metadata[key] ?? 'null'), key, `${key}.`);
  } catch (error) {
    throw damaged(file, `has no readable '${key}' in its metadata (${messageOf(error)})`);
  }
}

function readSampling(file: string, metadata: Readonly<Record<string, string>>): Sampling {
  const { mergeHeads, start, end, fps, ...sampling } = parseRecord(file, metadata, 'sampling', samplingRecord);
  if (sampling.frames % sampling.segmentFrames !== 0)
    throw damaged(file, `has ${sampling.frames} frames in segments of ${sampling.segmentFrames} in its metadata`);
  return {
    ...sampling,
    ...(mergeHeads !== undefined && { mergeHeads }),
    ...(start !== undefined && { start }),
    ...(end !== undefined && { end }),
    ...(fps !== undefined && { fps }),
  };
}

async function readShaped(file: WeightFile, name: string, shape: readonly number[]): Promise<Float32Tensor> {
  const location = file.tensors.get(name);
  if (location === undefined) throw damaged(file.path, `has no tensor '${name}'`);
  if (location.shape.length !== shape.length || location.shape.some((size, axis) => size !== shape[axis]))
    throw damaged(
      file.path,
      `has shape [${location.shape.join(', ')}] for '${name}' where [${shape.join(', ')}] is due`,
    );
  const tensor = toFloat32(await readFloatTensor(location));
  checkFinite(`'${name}' in ${file.path}`, tensor, 'Encode the video again.');
  return tensor;
}

/** @throws RangeError for a value that half precision cannot hold */
function toFloat16(name: string, tensor: Float32Tensor): Tensor {
  const large = tensor.data.find((value) => Math.abs(value) >= 65520);
  if (large !== undefined) wrongValue(`type, as ${name} holds ${large}`, "'float32'", 'float16');
  return { type: 'float16', data: Uint16Array.from(tensor.data, numberToHalf), dims: tensor.dims };
}
