import type { Sampling } from './features.js';
import type { LanguageModelDevice } from './llm/llama.js';
import { type PromptTemplate, type PromptTemplateName, resolvePromptTemplate } from './llm/templates.js';
import { checkInteger, checkObject, checkOneOf, checkSignal, checkString, wrongValue } from './validate.js';

/** How frames are made square: CLIP's own way, the reference loader's, or LLaVA-1.5's. */
export type Resize = 'crop' | 'squash' | 'pad';

/** Options of {@link LongVLM.load}. */
export type LongVLMOptions = {
  /** CLIP's vision tower: a Hugging Face folder, or the `.safetensors` file in it. */
  vision: string;
  /** The projector, a `.safetensors` file. Needed to chat, not to encode. */
  projector?: string;
  /** The language model, a `.gguf` file. Needed to chat, not to encode. */
  llm?: string;
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
  /** Layout of conversations. Defaults to `long_vlm_v1`. */
  template?: PromptTemplateName | PromptTemplate;
  /** Where the language model runs. Defaults to `auto`: a GPU that llama.cpp can use, else the CPU. */
  device?: LanguageModelDevice;
  /** Layers of the language model on the GPU. Defaults to as many as fit. */
  gpuLayers?: number;
  /** Threads of the vision tower, and of the language model on the CPU. Defaults to the machine's cores. */
  threads?: number;
  /** Path of ffmpeg. Defaults to `FFMPEG_PATH`, the package ffmpeg-static, or the one on `PATH`. */
  ffmpeg?: string;
  /** Called with the share of the language model that is loaded, `0` to `1`. */
  onProgress?: (share: number) => void;
  signal?: AbortSignal;
};

/** @throws TypeError or RangeError for an option that is wrong whatever the models are */
export function checkOptions(options: LongVLMOptions): void {
  checkObject('options', options);
  checkString('vision', options.vision);
  if (options.projector !== undefined) checkString('projector', options.projector);
  if (options.llm !== undefined) checkString('llm', options.llm);
  for (const name of ['frames', 'segmentFrames', 'tokensPerSegment', 'globalLayers', 'mergeHeads', 'threads'] as const)
    if (options[name] !== undefined) checkInteger(name, options[name], 1);
  if (options.resize !== undefined) checkOneOf('resize', options.resize, ['crop', 'squash', 'pad']);
  if (options.template !== undefined) resolvePromptTemplate(options.template);
  if (options.ffmpeg !== undefined) checkString('ffmpeg', options.ffmpeg);
  checkSignal(options.signal);
  const { frames = 100, segmentFrames = 10 } = options;
  if (frames % segmentFrames !== 0) wrongValue('frames', `multiple of segmentFrames (${segmentFrames})`, frames);
}

/** The sampling with its defaults. */
export function resolveSampling(options: LongVLMOptions, attentionHeads: number): Sampling {
  return {
    frames: options.frames ?? 100,
    segmentFrames: options.segmentFrames ?? 10,
    tokensPerSegment: options.tokensPerSegment ?? 30,
    globalLayers: options.globalLayers ?? 5,
    resize: options.resize ?? 'crop',
    mergeHeads: options.mergeHeads ?? attentionHeads,
  };
}
