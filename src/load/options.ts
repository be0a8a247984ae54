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

/** A kind of GPU for the language model, `auto` for the best that is there, `off` for none. */
export type Gpu = (typeof gpus)[number];

/** The names of {@link Gpu}. */
export const gpus = ['auto', 'cuda', 'vulkan', 'metal', 'off'] as const;

/** Which models: by name, or by the files that they are in. */
export type ModelNames = {
  /**
   * A model by name: `nano`, or one that `longvlm models` lists. It brings its own files, template and resize; what is named
   * beside it takes their place.
   */
  model?: string | undefined;
  /**
   * The vision tower: a Hugging Face folder or the weights in it (`.safetensors`, `.bin`, or the index of several), or an
   * mmproj `.gguf` file. Defaults to the tower in `projector`, where that is an mmproj file.
   */
  vision?: string | undefined;
  /**
   * The projector: an mmproj `.gguf` file, or `.safetensors` or PyTorch weights that hold one. Needed to chat, not to encode.
   */
  projector?: string | undefined;
  /**
   * The language model, a `.gguf` file. Needed to chat, not to encode.
   *
   * All three may lie on the Hugging Face hub: `hf:owner/repo:Q4_K_M`, `hf:owner/repo/file.gguf`, for a vision tower also
   * `hf:owner/repo`. They are downloaded into Hugging Face's own cache.
   */
  llm?: string | undefined;
  /** Takes from the cache what lies on the hub, and asks nobody. Defaults to whether `HF_HUB_OFFLINE` is set. */
  offline?: boolean | undefined;
};

/**
 * Options of {@link LongVLM.load}. With none of `model`, `vision`, `projector` and `llm` named, the embedded model nano is
 * loaded, and its sampling, template and temperature take the place of the defaults below. What is said of sampling is the
 * default of every video, and can be said anew with each.
 */
export type LongVLMOptions = ModelNames &
  Omit<VideoEncoderOptions, 'vision' | 'projector' | 'onProgress' | 'lazy'> & {
    /** Layout of conversations. Defaults to the chat template in the language model's file, where it has one, else `long_vlm_v1`. */
    template?: PromptTemplateName | PromptTemplate | undefined;
    /** Temperature of answers that name none: `0` always takes the most likely token. Defaults to `0.2`. */
    temperature?: number | undefined;
    /** Where the language model runs: `auto` (a GPU that llama.cpp can use, else the CPU), that kind of GPU, or `off`. Defaults to `auto`. */
    gpu?: Gpu | undefined;
    /** Layers of the language model on the GPU. Defaults to as many as fit. */
    gpuLayers?: number | undefined;
    /**
     * Starts vision tower and projector with the first video that needs them, and loads the language model's weights with the
     * first conversation, so that what is not needed takes no time and no memory. Defaults to `false`: all is loaded at once.
     */
    lazy?: boolean | undefined;
    /** Called while files are downloaded, weights written out in another type, and the language model is read. */
    onProgress?: OnProgress | undefined;
  };

/** Options of {@link loadVideoEncoder}. With neither `model`, `vision` nor `projector` named, nano's tower is loaded. */
export type LoadVideoEncoderOptions = Omit<ModelNames, 'llm'> & Omit<VideoEncoderOptions, 'vision' | 'projector'>;

/** What holds where neither the caller nor a model of the catalogue says anything. */
export const defaultOptions = {
  visionPrecision: 'float32',
  device: 'auto',
  gpu: 'auto',
  lazy: false,
  temperature: defaultTemperature,
} as const satisfies LongVLMOptions;

/** Options with all that {@link defaultOptions} names, and a vision tower. */
export type SettledOptions = LongVLMOptions &
  Required<{ [Key in keyof typeof defaultOptions]: NonNullable<LongVLMOptions[Key]> }> & {
    readonly vision: string;
    /** What of the sampling was given, by the caller or a model of the catalogue. */
    readonly sampling: SamplingRequest;
  };

/** {@link SettledOptions} before it is known where the vision tower is. */
export type UnlocatedOptions = Omit<SettledOptions, 'vision'> & { readonly vision?: string | undefined };

/** Whether any model is named, so that the default one is not loaded. */
export function namesModels({ model, vision, projector, llm }: ModelNames): boolean {
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
  checkSignal(options.signal);
}

/**
 * The caller's options over those of a known model, and both over the defaults.
 * @throws RangeError for frames that are no whole segments: known before gigabytes are downloaded
 */
export function settleOptions(options: LongVLMOptions, known: LongVLMOptions = {}): UnlocatedOptions {
  const isGiven = ([key, value]: [string, unknown]) =>
    value !== undefined && !(samplingKeys as readonly string[]).includes(key);
  const given = (from: LongVLMOptions) => Object.fromEntries(Object.entries(from).filter(isGiven));
  const sampling = overlay(known, options);
  withDefaults(sampling);
  return { ...defaultOptions, ...given(known), ...given(options), sampling };
}
