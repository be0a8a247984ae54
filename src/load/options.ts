import type { OnProgress } from '../base/progress.js';
import {
  checkFunction,
  checkInteger,
  checkNumber,
  checkObject,
  checkOneOf,
  checkSignal,
  checkString,
  wrongType,
  wrongValue,
} from '../base/validate.js';
import { checkCache, type FeaturesCache } from '../encode/featuresCache.js';
import type { Sampling } from '../encode/videoFeatures.js';
import { defaultTemperature } from '../llm/sampling.js';
import { type PromptTemplate, type PromptTemplateName, resolvePromptTemplate } from '../llm/templates.js';
import type { HubProgress } from '../models/hub/hub.js';
import { type Reduction, reductions } from '../reduce/reduceTokens.js';
import { type VisionPrecision, visionPrecisions } from '../tower/clip/towerGraph.js';

/** How frames are made square: CLIP's own way, the reference loader's, or LLaVA-1.5's. */
export type Resize = 'crop' | 'squash' | 'pad';

/** A kind of GPU for the language model, `auto` for the best that is there, `off` for none. */
export type Gpu = (typeof gpus)[number];

/** The names of {@link Gpu}. */
export const gpus = ['auto', 'cuda', 'vulkan', 'metal', 'off'] as const;

/**
 * Options of {@link LongVLM.load}. With none of `vision`, `projector` and `llm` named, the embedded model nano is loaded,
 * and its sampling, template and temperature take the place of the defaults below.
 */
export type LongVLMOptions = {
  /**
   * A model by name: `nano`, or one that `longvlm models` lists. It brings its own files, template and resize; what is named
   * beside it takes their place.
   */
  model?: string;
  /**
   * CLIP's vision tower: a Hugging Face folder or the weights in it (`.safetensors`, `.bin`, or the index of several), or an
   * mmproj `.gguf` file. Defaults to the tower in `projector`, where that is an mmproj file.
   */
  vision?: string;
  /**
   * The projector: an mmproj `.gguf` file, or `.safetensors` or PyTorch weights that hold one. Needed to chat, not to encode.
   */
  projector?: string;
  /**
   * The language model, a `.gguf` file. Needed to chat, not to encode.
   *
   * All three may lie on the Hugging Face hub: `hf:owner/repo:Q4_K_M`, `hf:owner/repo/file.gguf`, for a vision tower also
   * `hf:owner/repo`. They are downloaded into Hugging Face's own cache.
   */
  llm?: string;
  /** Takes from the cache what lies on the hub, and asks nobody. Defaults to whether `HF_HUB_OFFLINE` is set. */
  offline?: boolean;
  /** Called while files are downloaded. */
  onDownload?: (progress: HubProgress) => void;
  /** Frames sampled uniformly from the whole video (T); a multiple of `segmentFrames`. Defaults to `100`. */
  frames?: number;
  /** Frames in one short-term segment (K). Defaults to `10`. */
  segmentFrames?: number;
  /** Tokens kept of each segment (M). Defaults to `30`. */
  tokensPerSegment?: number;
  /** Last hidden states whose [CLS] makes the global semantics (E). Defaults to `5`. */
  globalLayers?: number;
  /** Groups of channels whose mean decides what is merged. Defaults to the tower's attention heads. */
  mergeHeads?: number;
  /** Defaults to `crop`. */
  resize?: Resize;
  /**
   * How a segment's K·N patch tokens become `tokensPerSegment`. `merge`: the most similar ones are merged, LongVLM's way.
   * To compare with: `pool` averages as many consecutive ones, in frame order, into each token; `subsample` takes tokens
   * at even distances and drops the others. Defaults to `merge`.
   */
  reduction?: Reduction;
  /** Layout of conversations. Defaults to the chat template in the language model's file, where it has one, else `long_vlm_v1`. */
  template?: PromptTemplateName | PromptTemplate;
  /** Temperature of answers that name none: `0` always takes the most likely token. Defaults to `0.2`. */
  temperature?: number;
  /**
   * Where vision tower and projector run: `cpu`, `auto` (a GPU that works, else the CPU), or an execution provider of ONNX
   * Runtime. Defaults to `auto`.
   */
  device?: string;
  /**
   * What the tower's linear layers are computed in: `float32`, or `int8`, which is faster and less exact (see docs/models.md).
   * Defaults to `float32`.
   */
  visionPrecision?: VisionPrecision;
  /** Where the language model runs: `auto` (a GPU that llama.cpp can use, else the CPU), that kind of GPU, or `off`. Defaults to `auto`. */
  gpu?: Gpu;
  /** Layers of the language model on the GPU. Defaults to as many as fit. */
  gpuLayers?: number;
  /** Threads of the vision tower, and of the language model on the CPU. Defaults to the machine's cores. */
  threads?: number;
  /**
   * Where features of encoded videos are kept and found again: `true` for the user's own cache, which `longvlm` shares (see
   * {@link FeaturesCache.openDefault}). Defaults to `false`.
   */
  cache?: boolean | FeaturesCache;
  /**
   * Starts the vision tower with the first video that is to be encoded, and loads the language model's weights with the first
   * conversation, so that what is not needed takes no time and no memory. Defaults to `false`: all is loaded at once.
   */
  lazy?: boolean;
  /** Path of ffmpeg. Defaults to `FFMPEG_PATH`, the package ffmpeg-static, or the one on `PATH`. */
  ffmpeg?: string;
  /** Called with the share of the language model that is loaded. */
  onProgress?: OnProgress;
  signal?: AbortSignal;
};

/** What holds where neither the caller nor a preset says anything. */
export const defaultOptions = {
  frames: 100,
  segmentFrames: 10,
  tokensPerSegment: 30,
  globalLayers: 5,
  resize: 'crop',
  reduction: 'merge',
  visionPrecision: 'float32',
  device: 'auto',
  gpu: 'auto',
  lazy: false,
  temperature: defaultTemperature,
} as const satisfies LongVLMOptions;

/** Options with all that {@link defaultOptions} names, and a vision tower. */
export type SettledOptions = LongVLMOptions &
  Required<Pick<LongVLMOptions, keyof typeof defaultOptions>> & { readonly vision: string };

/** Whether any model is named, so that no preset is loaded. */
export function namesModels({ model, vision, projector, llm }: LongVLMOptions): boolean {
  return [model, vision, projector, llm].some((named) => named !== undefined);
}

/** The error for models without a vision tower. */
export function visionIsMissing(): TypeError {
  return new TypeError(
    'Expected vision beside projector and llm in options but received undefined: name all three models, the last two where the projector is an mmproj file, or none for the embedded one',
  );
}

/** @throws TypeError or RangeError for an option that is wrong whatever the models and the defaults are */
export function checkOptions(options: LongVLMOptions): void {
  checkObject('options', options);
  const { model, vision, projector, llm } = options;
  if (model === undefined && llm !== undefined && vision === undefined && projector === undefined)
    throw visionIsMissing();
  for (const name of ['model', 'vision', 'projector', 'llm', 'ffmpeg'] as const)
    if (options[name] !== undefined) checkString(name, options[name]);
  for (const name of ['frames', 'segmentFrames', 'tokensPerSegment', 'globalLayers', 'mergeHeads', 'threads'] as const)
    if (options[name] !== undefined) checkInteger(name, options[name], 1);
  if (options.visionPrecision !== undefined) checkOneOf('visionPrecision', options.visionPrecision, visionPrecisions);
  if (options.device !== undefined) checkString('device', options.device);
  if (options.gpu !== undefined) checkOneOf('gpu', options.gpu, gpus);
  if (options.gpuLayers !== undefined) checkInteger('gpuLayers', options.gpuLayers, 0);
  if (options.resize !== undefined) checkOneOf('resize', options.resize, ['crop', 'squash', 'pad']);
  if (options.reduction !== undefined) checkOneOf('reduction', options.reduction, reductions);
  if (options.template !== undefined) resolvePromptTemplate(options.template);
  if (options.temperature !== undefined) checkNumber('temperature', options.temperature, 0);
  if (options.offline !== undefined && typeof options.offline !== 'boolean')
    wrongType('offline', 'boolean', options.offline);
  if (options.onDownload !== undefined) checkFunction('onDownload', options.onDownload);
  if (options.cache !== undefined) checkCache(options.cache);
  if (options.lazy !== undefined && typeof options.lazy !== 'boolean') wrongType('lazy', 'boolean', options.lazy);
  checkSignal(options.signal);
}

/**
 * The caller's options over those of the preset, and both over the defaults.
 * @throws RangeError for options that do not fit each other
 */
export function settleOptions(options: LongVLMOptions, preset: LongVLMOptions = {}): SettledOptions {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const settled = { ...defaultOptions, ...preset, ...Object.fromEntries(given) } as SettledOptions;
  const { frames, segmentFrames } = settled;
  if (frames % segmentFrames !== 0) wrongValue('frames', `multiple of segmentFrames (${segmentFrames})`, frames);
  return settled;
}

/** How videos are sampled; `mergeHeads` depend on the tower. */
export function samplingOf(options: SettledOptions, attentionHeads: number): Sampling {
  const { frames, segmentFrames, tokensPerSegment, globalLayers, resize, reduction } = options;
  const mergeHeads = options.mergeHeads ?? attentionHeads;
  return { frames, segmentFrames, tokensPerSegment, globalLayers, resize, reduction, mergeHeads };
}
