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
} from '../base/validate.js';
import { checkCache } from '../encode/featuresCache.js';
import { checkSampling, overlay, type SamplingRequest, samplingKeys, withDefaults } from '../encode/sampling.js';
import type { VideoEncoderOptions } from '../encode/videoEncoder.js';
import { defaultTemperature } from '../llm/sampling.js';
import { type PromptTemplate, type PromptTemplateName, resolvePromptTemplate } from '../llm/templates.js';
import { visionPrecisions } from '../tower/precision.js';
import { checkLimits } from '../video/limits.js';

/** The GPU for the language model: a kind of GPU, `auto` for the best available one, or `off` for the CPU. */
export type Gpu = (typeof gpus)[number];

/** The names of {@link Gpu}. */
export const gpus = ['auto', 'cuda', 'vulkan', 'metal', 'off'] as const;

/** Names the models: one model of the catalogue, or files of single models. */
export type ModelNames = {
  /**
   * A model of the catalogue by name: `nano`, or another that `longvlm models` lists. It sets files, template and sampling, and
   * may set the temperature; other options that are given replace these. Defaults to `nano` if no other model is named.
   */
  model?: string | undefined;
  /**
   * The vision tower: a Hugging Face folder or the weights in it (`.safetensors`, `.bin`, or the index of several), or an
   * mmproj `.gguf` file. Defaults to the tower in `projector`, where that is an mmproj file.
   */
  vision?: string | undefined;
  /**
   * The projector: an mmproj `.gguf` file, or `.safetensors` or PyTorch weights that contain one. Needed to chat, not to encode.
   */
  projector?: string | undefined;
  /**
   * The language model, a `.gguf` file. Needed to chat, not to encode.
   *
   * All three can be references to the Hugging Face hub: `hf:owner/repo`, `hf:owner/repo:Q4_K_M`, `hf:owner/repo/file.gguf`,
   * each with an optional `@revision` after `repo`. Files are downloaded into Hugging Face's own cache.
   */
  llm?: string | undefined;
  /** Uses hub models from the cache only, without any request. Defaults to whether `HF_HUB_OFFLINE` is set. */
  offline?: boolean | undefined;
};

/**
 * Options of {@link LongVLM.load}. If none of `model`, `vision`, `projector` and `llm` is given, the embedded model nano is
 * loaded, and its sampling, template and temperature replace the defaults below. The sampling options are defaults for all
 * videos; each call can override them.
 */
export type LongVLMOptions = ModelNames &
  Omit<VideoEncoderOptions, 'vision' | 'projector' | 'onProgress' | 'lazy'> & {
    /** Layout of conversations. Defaults to the chat template in the language model's file if it has one, else `long_vlm_v1`. */
    template?: PromptTemplateName | PromptTemplate | undefined;
    /** Default temperature of answers, at least 0; `0` always takes the most likely token. Defaults to `0.2`. */
    temperature?: number | undefined;
    /**
     * Where the language model runs: `auto` (the best GPU that llama.cpp can use, else the CPU), a kind of GPU, or `off` for the
     * CPU. Defaults to `auto`.
     */
    gpu?: Gpu | undefined;
    /** Number of the language model's layers on the GPU. Defaults to as many as fit. */
    gpuLayers?: number | undefined;
    /**
     * Starts vision tower and projector when a video first needs them, and loads the language model's weights with the first
     * conversation, so that unused models take no time and memory. Defaults to `false`: all models are loaded at once.
     */
    lazy?: boolean | undefined;
    /** Called while files are downloaded, weights are converted, and the language model is loaded. */
    onProgress?: OnProgress | undefined;
  };

/** Options of {@link loadVideoEncoder}. If none of `model`, `vision` and `projector` is given, nano's tower is loaded. */
export type LoadVideoEncoderOptions = Omit<ModelNames, 'llm'> & Omit<VideoEncoderOptions, 'vision' | 'projector'>;

/** Defaults of options that neither the caller nor a model of the catalogue sets. */
export const defaultOptions = {
  visionPrecision: 'float32',
  device: 'auto',
  gpu: 'auto',
  lazy: false,
  temperature: defaultTemperature,
} as const satisfies LongVLMOptions;

/** Options with defaults applied, and with a vision tower. */
export type SettledOptions = LongVLMOptions &
  Required<{ [Key in keyof typeof defaultOptions]: NonNullable<LongVLMOptions[Key]> }> & {
    readonly vision: string;
    /** The sampling options that the caller or a model of the catalogue set. */
    readonly sampling: SamplingRequest;
  };

/** {@link SettledOptions} before the vision tower is located. */
export type UnlocatedOptions = Omit<SettledOptions, 'vision'> & { readonly vision?: string | undefined };

/** Whether any model is named; if not, the default model is loaded. */
export function namesModels({ model, vision, projector, llm }: ModelNames): boolean {
  return [model, vision, projector, llm].some((named) => named !== undefined);
}

/** The error for models without a vision tower. */
export function visionIsMissing(): TypeError {
  return new TypeError(
    'Expected vision beside projector and llm in options but received undefined: name all three models, the last two where the projector is an mmproj file, or none for the embedded one',
  );
}

/** @throws TypeError or RangeError for an option that is wrong for any models and defaults */
export function checkOptions(options: LongVLMOptions): void {
  checkObject('options', options);
  const { model, vision, projector, llm } = options;
  if (model === undefined && llm !== undefined && vision === undefined && projector === undefined)
    throw visionIsMissing();
  for (const name of ['model', 'vision', 'projector', 'llm', 'ffmpeg'] as const)
    if (options[name] !== undefined) checkString(name, options[name]);
  checkSampling(options);
  if (options.threads !== undefined) checkInteger('threads', options.threads, 1);
  if (options.visionPrecision !== undefined) checkOneOf('visionPrecision', options.visionPrecision, visionPrecisions);
  if (options.device !== undefined) checkString('device', options.device);
  if (options.gpu !== undefined) checkOneOf('gpu', options.gpu, gpus);
  if (options.gpuLayers !== undefined) checkInteger('gpuLayers', options.gpuLayers, 0);
  if (options.template !== undefined) resolvePromptTemplate(options.template);
  if (options.temperature !== undefined) checkNumber('temperature', options.temperature, 0);
  for (const name of ['offline', 'lazy'] as const)
    if (options[name] !== undefined && typeof options[name] !== 'boolean') wrongType(name, 'boolean', options[name]);
  if (options.onProgress !== undefined) checkFunction('onProgress', options.onProgress);
  if (options.cache !== undefined) checkCache(options.cache);
  checkLimits(options.limits);
  checkSignal(options.signal);
}

/**
 * Merges the options: the caller's, then those of a model of the catalogue, then the defaults.
 * @throws RangeError if `frames` is not a multiple of `segmentFrames`, before gigabytes are downloaded
 */
export function settleOptions(options: LongVLMOptions, known: LongVLMOptions = {}): UnlocatedOptions {
  const isGiven = ([key, value]: [string, unknown]) =>
    value !== undefined && !(samplingKeys as readonly string[]).includes(key);
  const given = (from: LongVLMOptions) => Object.fromEntries(Object.entries(from).filter(isGiven));
  const sampling = overlay(known, options);
  withDefaults(sampling);
  return { ...defaultOptions, ...given(known), ...given(options), sampling };
}
