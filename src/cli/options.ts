// Flags that commands share, and what they become.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { VideoFeatures } from '../features.js';
import { promptTemplateNames } from '../llm/templates.js';
import type { LongVLM } from '../longvlm.js';
import type { LongVLMOptions } from '../longvlmOptions.js';

/** What {@link addModelOptions} and {@link addSamplingOptions} read. */
export type ModelFlags = {
  vision: string;
  projector?: string;
  llm?: string;
  frames: number;
  segmentFrames: number;
  mergeTokens: number;
  globalLayers: number;
  resize: 'crop' | 'squash' | 'pad';
  threads?: number;
  ffmpeg?: string;
  device?: 'auto' | 'cpu' | 'cuda' | 'vulkan' | 'metal';
};

export type AnswerFlags = {
  maxTokens: number;
  temperature: number;
  topK?: number;
  topP?: number;
  minP?: number;
  seed?: number;
  stop?: string[];
  system?: string;
  template: 'long_vlm_v1' | 'vicuna_v1_1';
  contextSize?: number;
};

function integer(min: number): (text: string) => number {
  return (text) => {
    if (!/^-?\d+$/.test(text) || Number(text) < min)
      throw new InvalidArgumentError(min === 1 ? 'Give a positive integer.' : `Give an integer of at least ${min}.`);
    return Number(text);
  };
}

function decimal(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= min && value <= max))
      throw new InvalidArgumentError(
        max === Number.POSITIVE_INFINITY ? `Give a number of at least ${min}.` : `Give a number from ${min} to ${max}.`,
      );
    return value;
  };
}

function option(flags: string, description: string, env?: string): Option {
  const made = new Option(flags, description);
  return env === undefined ? made : made.env(env);
}

/** The vision tower and how videos are sampled. */
export function addVisionOptions(command: Command): Command {
  return command
    .addOption(
      option(
        '--vision <dir>',
        "CLIP's vision tower: a Hugging Face folder or its .safetensors file",
        'LONGVLM_VISION',
      ).makeOptionMandatory(),
    )
    .addOption(option('--frames <n>', 'frames sampled from the whole video').argParser(integer(1)).default(100))
    .addOption(option('--segment-frames <n>', 'frames in one segment').argParser(integer(1)).default(10))
    .addOption(option('--merge-tokens <n>', 'tokens kept of each segment').argParser(integer(1)).default(30))
    .addOption(
      option('--global-layers <n>', 'last layers whose [CLS] is averaged over all frames')
        .argParser(integer(1))
        .default(5),
    )
    .addOption(
      option('--resize <how>', 'how frames are made square').choices(['crop', 'squash', 'pad']).default('crop'),
    )
    .addOption(option('--threads <n>', 'threads on the CPU (default: all cores)').argParser(integer(1)))
    .addOption(option('--ffmpeg <path>', 'the ffmpeg to use (default: $FFMPEG_PATH, ffmpeg-static, then $PATH)'));
}

/** The projector and the language model. */
export function addLanguageOptions(command: Command): Command {
  return command
    .addOption(
      option('--projector <file>', 'the projector, a .safetensors file', 'LONGVLM_PROJECTOR').makeOptionMandatory(),
    )
    .addOption(option('--llm <file>', 'the language model, a .gguf file', 'LONGVLM_LLM').makeOptionMandatory())
    .addOption(
      option('--device <name>', 'where the language model runs')
        .choices(['auto', 'cpu', 'cuda', 'vulkan', 'metal'])
        .default('auto'),
    );
}

/** How answers are made. */
export function addAnswerOptions(command: Command): Command {
  return command
    .addOption(option('--max-tokens <n>', 'longest answer, in tokens').argParser(integer(1)).default(1024))
    .addOption(
      option('--temperature <t>', '0 always takes the likeliest token')
        .argParser(decimal(0, Number.POSITIVE_INFINITY))
        .default(0.2),
    )
    .addOption(option('--top-k <n>', 'sample among the n likeliest tokens').argParser(integer(0)))
    .addOption(option('--top-p <p>', 'sample among the tokens that reach probability p').argParser(decimal(0, 1)))
    .addOption(option('--min-p <p>', 'leave out tokens below p times the likeliest').argParser(decimal(0, 1)))
    .addOption(option('--seed <n>', 'makes sampling repeatable').argParser(integer(0)))
    .addOption(
      option('--stop <text>', 'a text that ends the answer; may be given several times').argParser(
        (text: string, before: string[] | undefined) => [...(before ?? []), text],
      ),
    )
    .addOption(option('--system <text>', 'what the model is told first (default: the text of the template)'))
    .addOption(
      option('--template <name>', 'layout of the prompt')
        .choices([...promptTemplateNames])
        .default('long_vlm_v1'),
    )
    .addOption(
      option('--context-size <n>', 'size of the context in tokens (default: what is needed)').argParser(integer(16)),
    );
}

/** The flags as {@link LongVLM.load} takes them. */
export function loadOptions(flags: ModelFlags): LongVLMOptions {
  return {
    vision: flags.vision,
    ...(flags.projector !== undefined && { projector: flags.projector }),
    ...(flags.llm !== undefined && { llm: flags.llm }),
    frames: flags.frames,
    segmentFrames: flags.segmentFrames,
    tokensPerSegment: flags.mergeTokens,
    globalLayers: flags.globalLayers,
    resize: flags.resize,
    ...(flags.threads !== undefined && { threads: flags.threads }),
    ...(flags.ffmpeg !== undefined && { ffmpeg: flags.ffmpeg }),
    ...(flags.device !== undefined && { device: flags.device }),
  };
}

/** The flags as a chat's questions take them. */
export function askOptions(flags: AnswerFlags) {
  return {
    maxTokens: flags.maxTokens,
    temperature: flags.temperature,
    ...(flags.topK !== undefined && { topK: flags.topK }),
    ...(flags.topP !== undefined && { topP: flags.topP }),
    ...(flags.minP !== undefined && { minP: flags.minP }),
    ...(flags.seed !== undefined && { seed: flags.seed }),
    ...(flags.stop !== undefined && { stop: flags.stop }),
  };
}

/** The flags as {@link LongVLM.chat} takes them. */
export function chatOptions(flags: AnswerFlags) {
  return {
    template: flags.template,
    ...(flags.system !== undefined && { system: flags.system }),
    ...(flags.contextSize !== undefined && { contextSize: flags.contextSize }),
  };
}

/** Whether a VIDEO argument names a file made by `encode`. */
export function isFeaturesFile(video: string): boolean {
  return video.endsWith('.safetensors');
}

/** The video's features: read when `video` is a features file, else encoded. */
export async function featuresOf(
  vlm: LongVLM,
  video: string,
  options: Parameters<LongVLM['encode']>[1],
): Promise<VideoFeatures> {
  return isFeaturesFile(video) ? VideoFeatures.load(video, { tower: vlm.tower }) : vlm.encode(video, options);
}
