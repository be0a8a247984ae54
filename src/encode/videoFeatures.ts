import path from 'node:path';
import { LongVLMError, messageOf } from '../base/errors.js';
import { type Float32Tensor, float32Tensor, numberToHalf, type Tensor, toFloat32 } from '../base/tensor.js';
import { checkFinite, checkObject, checkOneOf, checkString, wrongValue } from '../base/validate.js';
import { version } from '../base/version.js';
import {
  openSafetensors,
  readFloatTensor,
  type TensorData,
  tensorData,
  writeSafetensors,
} from '../files/safetensors.js';
import type { WeightFile } from '../files/tensorFile.js';
import { type Reduction, reductions } from '../reduce/reduceTokens.js';

const formatName = 'longvlm.features';
const formatVersion = '1';

/** How a video was sampled and merged. */
export type Sampling = {
  /** Frames taken from the whole video (T). */
  readonly frames: number;
  /** Frames in one segment (K). */
  readonly segmentFrames: number;
  /** Tokens kept of each segment (M). */
  readonly tokensPerSegment: number;
  /** Last hidden states whose [CLS] is kept (E). */
  readonly globalLayers: number;
  /** How frames were made square. */
  readonly resize: 'crop' | 'squash' | 'pad';
  /** How a segment's patches became few. */
  readonly reduction: Reduction;
  /** Groups of channels whose mean decides what is merged. */
  readonly mergeHeads: number;
};

/** Which tokens of a video a language model sees: the global semantics, the segments' local tokens, or both. */
export type VideoPart = 'both' | 'local' | 'global';

const videoParts = ['both', 'local', 'global'] as const satisfies readonly VideoPart[];

/** @throws TypeError or RangeError for anything else than a {@link VideoPart} */
export function checkVideoPart(part: unknown): VideoPart {
  return checkOneOf('part', part, videoParts);
}

/** Tokens of a part, given those of both kinds. @throws what {@link checkVideoPart} throws */
export function countTokens(part: VideoPart, global: number, local: number): number {
  return { both: global + local, local, global }[checkVideoPart(part)];
}

/** What is kept about the video itself. */
export type VideoSource = {
  /** Name of the file, without its folder. */
  readonly name: string;
  readonly durationSeconds: number;
  readonly frameCount: number;
  /** Pixels, as displayed. */
  readonly width: number;
  readonly height: number;
  /** What was wrong with the file although it could be read, in sentences. */
  readonly warnings: readonly string[];
};

/** What {@link VideoFeatures} is made of. */
export type VideoFeaturesInit = {
  local: Float32Tensor;
  global: Float32Tensor;
  sizes: Float32Tensor;
  timestamps: Float32Array;
  sampling: Sampling;
  tower: string;
  source: VideoSource;
};

/**
 * What encoding a video gives: the local tokens of every segment and the global semantics of the whole.
 * Independent of the projector and the language model; belongs to one vision tower.
 */
export class VideoFeatures {
  /** Merged patch tokens [segments, tokensPerSegment, channels], in temporal order. */
  readonly local: Float32Tensor;
  /** Mean [CLS] of the last hidden states [globalLayers, channels], oldest layer first. */
  readonly global: Float32Tensor;
  /** Patches in each local token [segments, tokensPerSegment]. */
  readonly sizes: Float32Tensor;
  /** When each sampled frame is shown, in seconds [frames]. */
  readonly timestamps: Float32Array;
  readonly sampling: Sampling;
  /** Identity of the vision tower. */
  readonly tower: string;
  readonly source: VideoSource;

  constructor(init: VideoFeaturesInit) {
    this.local = init.local;
    this.global = init.global;
    this.sizes = init.sizes;
    this.timestamps = init.timestamps;
    this.sampling = init.sampling;
    this.tower = init.tower;
    this.source = init.source;
  }

  get segments(): number {
    return this.local.dims[0]!;
  }

  get channels(): number {
    return this.local.dims[2]!;
  }

  /** Tokens that a language model will see: global and local together. */
  get tokenCount(): number {
    return this.tokenCountOf('both');
  }

  /** Tokens of a part of the video. */
  tokenCountOf(part: VideoPart): number {
    return countTokens(part, this.global.dims[0]!, this.segments * this.local.dims[1]!);
  }

  /**
   * Global and local tokens in the order in which the projector takes them [tokens, channels].
   * @param part to leave one kind out. Defaults to `both`.
   */
  tokens(part: VideoPart = 'both'): Float32Tensor {
    const count = this.tokenCountOf(part);
    const data = new Float32Array(count * this.channels);
    if (part !== 'local') data.set(this.global.data);
    if (part !== 'global') data.set(this.local.data, part === 'both' ? this.global.data.length : 0);
    return float32Tensor(data, [count, this.channels]);
  }

  /**
   * Writes a safetensors file: `local`, `global`, `sizes`, `timestamps`, and in its metadata the sampling, the video,
   * the tower's identity and this package's version. The file appears whole or not at all.
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
        sampling: JSON.stringify(this.sampling),
        video: JSON.stringify(this.source),
      },
    );
  }

  /**
   * Reads what {@link save} wrote.
   * @param options `tower`: identity that the file must have been made with
   * @throws LongVLMError `ERR_LONGVLM_FILE` when it cannot be read, `ERR_LONGVLM_WEIGHTS` when it is damaged or holds
   *   something else, `ERR_LONGVLM_MISMATCH` when it belongs to another tower
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
    // Files from before there was a choice do not name it.
    const reduction: Reduction = 'merge';
    const sampling: Sampling = { reduction, ...parseRecord<Omit<Sampling, 'reduction'>>(file, metadata, 'sampling') };
    const source = parseRecord<VideoSource>(file, metadata, 'video');
    const tower = metadata.tower ?? '';
    checkSampling(file, sampling);
    const segments = sampling.frames / sampling.segmentFrames;
    const channels = opened.tensors.get('global')?.shape[1] ?? 0;
    const features = new VideoFeatures({
      local: await readShaped(opened, 'local', [segments, sampling.tokensPerSegment, channels]),
      global: await readShaped(opened, 'global', [sampling.globalLayers, channels]),
      sizes: await readShaped(opened, 'sizes', [segments, sampling.tokensPerSegment]),
      timestamps: (await readShaped(opened, 'timestamps', [sampling.frames])).data,
      sampling,
      tower,
      source,
    });
    if (options.tower !== undefined) features.checkTower(options.tower, file);
    return features;
  }

  /**
   * @param name what the error calls these features. Defaults to the video's name.
   * @throws LongVLMError `ERR_LONGVLM_MISMATCH` when they were made by another tower than `tower`
   */
  checkTower(tower: string, name = `The features of ${this.source.name}`): void {
    if (this.tower === tower) return;
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `${name} were made by the vision tower ${this.tower}, not by ${tower}. Encode the video again with this tower.`,
    );
  }
}

function damaged(file: string, cause: string, remedy = 'Encode the video again.'): LongVLMError {
  return new LongVLMError('ERR_LONGVLM_WEIGHTS', `${file} ${cause}. ${remedy}`);
}

function parseRecord<T extends object>(file: string, metadata: Readonly<Record<string, string>>, key: string): T {
  try {
    return checkObject(key, JSON.parse(metadata[key] ?? 'null') as T);
  } catch (error) {
    throw damaged(file, `has no readable '${key}' in its metadata (${messageOf(error)})`);
  }
}

function checkSampling(file: string, sampling: Sampling): void {
  const counts = ['frames', 'segmentFrames', 'tokensPerSegment', 'globalLayers', 'mergeHeads'] as const;
  for (const key of counts)
    if (!Number.isSafeInteger(sampling[key]) || sampling[key] < 1)
      throw damaged(file, `has ${String(sampling[key])} for sampling.${key} in its metadata`);
  if (!reductions.includes(sampling.reduction))
    throw damaged(file, `has ${String(sampling.reduction)} for sampling.reduction in its metadata`);
  if (sampling.frames % sampling.segmentFrames !== 0)
    throw damaged(file, `has ${sampling.frames} frames in segments of ${sampling.segmentFrames} in its metadata`);
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
