// Flags that commands share, and their conversion to options of the library.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { messageOf } from '../base/errors.js';
import { type Resize, resizes } from '../base/resize.js';
import { defaultSampling } from '../encode/sampling.js';
import { VideoFeatures, type VideoPart, videoParts } from '../encode/videoFeatures.js';
import { type PromptTemplateName, promptTemplateNames } from '../llm/templates.js';
import { defaultOptions, type Gpu, gpus, type LongVLMOptions } from '../load/options.js';
import type { LongVLM } from '../longvlm.js';
import { type ReductionOptions, readReductionOptions } from '../reduce/options.js';
import { type Reduction, reductionNames } from '../reduce/reducers.js';
import { type VisionPrecision, visionPrecisions } from '../tower/precision.js';
import { checkLimits, limitNames, type VideoLimits } from '../video/limits.js';

/** What {@link addTowerOptions}, {@link addSamplingOptions} and {@link addLanguageOptions} read. */
export type ModelFlags = {
  model?: string;
  offline?: boolean;
  vision?: string;
  projector?: string;
  llm?: string;
  frames?: number;
  fps?: number;
  maxFrames?: number;
  start?: number;
  end?: number;
  segmentFrames?: number;
  mergeTokens?: number;
  tokens?: number | 'all' | VideoPart;
  globalLayers?: number;
  maxPixels?: number;
  resize?: Resize;
  reduction?: Reduction;
  reductionOptions?: ReductionOptions;
  threads?: number;
  ffmpeg?: string;
  videoLimit?: VideoLimits;
  allowLists?: boolean;
  cache?: boolean;
  visionPrecision?: VisionPrecision;
  device?: string;
  gpu?: Gpu;
  gpuLayers?: number;
};

/** What {@link addAnswerOptions} reads. */
export type AnswerFlags = Pick<ModelFlags, 'tokens'> & {
  part?: VideoPart;
  timestamps?: boolean;
  maxTokens: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  seed?: number;
  stop?: string[];
  system?: string;
  template?: PromptTemplateName;
  contextSize?: number;
};

/** Reads an integer of at least `min`. */
export function integer(min: number): (text: string) => number {
  return (text) => {
    if (!/^-?\d+$/.test(text) || Number(text) < min)
      throw new InvalidArgumentError(min === 1 ? 'Give a positive integer.' : `Give an integer of at least ${min}.`);
    return Number(text);
  };
}

/** Reads a number from `min` to `max`. */
export function decimal(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= min && value <= max))
      throw new InvalidArgumentError(
        max === Number.POSITIVE_INFINITY ? `Give a number of at least ${min}.` : `Give a number from ${min} to ${max}.`,
      );
    return value;
  };
}

/** Reads an option that can be given again. */
export const collected = (text: string, before: string[] | undefined) => [...(before ?? []), text];

function option(flags: string, description: string, env?: string): Option {
  const made = new Option(flags, description);
  return env === undefined ? made : made.env(env);
}

/**
 * Adds the default to a flag's description. The default value itself comes from {@link LongVLM.load}, because a model may
 * have its own.
 */
function withDefault(description: string, value: string | number): string {
  return `${description} (default: the model's own, or ${value})`;
}

/** Reads a time: seconds, or [hours:]minutes:seconds. */
function seconds(text: string): number {
  const match = /^(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)$/.exec(text);
  const [, hours = 0, minutes = 0, rest = 0] = (match ?? []).map(Number).map((value) => value || 0);
  if (!match || (match[2] !== undefined && rest >= 60) || (match[1] !== undefined && minutes >= 60))
    throw new InvalidArgumentError('Give seconds, or a time such as 1:02:03.5.');
  return hours * 3600 + minutes * 60 + rest;
}

/** Reads a number of tokens or `all`; and, as in version 0.1, what is `--part` now. */
function budget(text: string): NonNullable<ModelFlags['tokens']> {
  const part = videoParts.find((each) => each === text);
  if (part !== undefined) process.stderr.write(`note: --tokens ${part} is called --part ${part} now\n`);
  if (part !== undefined) return part;
  if (text === 'all') return text;
  try {
    return integer(1)(text);
  } catch {
    throw new InvalidArgumentError('Give a positive integer, or all.');
  }
}

/** Which tokens of the video the language model sees. */
export function partOf({ part, tokens }: AnswerFlags): VideoPart {
  return part ?? videoParts.find((each) => each === tokens) ?? 'both';
}

/** Reads `name=n` into the limits so far. */
function videoLimit(text: string, before: VideoLimits = {}): VideoLimits {
  const [, name, value] = /^(\w+)=(.+)$/.exec(text) ?? [];
  const known = limitNames.find((each) => each === name);
  if (!known) throw new InvalidArgumentError(`Give one of ${limitNames.join(', ')}, such as maxPixels=1e8.`);
  const limits = { ...before, [known]: Number(value) };
  try {
    checkLimits(limits);
  } catch (error) {
    throw new InvalidArgumentError(`${messageOf(error)}.`);
  }
  return limits;
}

/** Reads `name=value`, or a JSON object, into the options so far. */
function reductionOption(text: string, before: ReductionOptions = {}): ReductionOptions {
  const [, name, value] = /^(\w+)=(.+)$/.exec(text) ?? [];
  const given: unknown = name === undefined ? jsonOf(text) : { [name]: jsonOf(value!) ?? value };
  try {
    return readReductionOptions({ ...before, ...readReductionOptions(given) });
  } catch {
    throw new InvalidArgumentError('Give name=value, such as alpha=0.5, or a JSON object of numbers and texts.');
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The limits that flags set. */
export function limitsOf({ videoLimit, allowLists }: Pick<ModelFlags, 'videoLimit' | 'allowLists'>): VideoLimits {
  return { ...videoLimit, ...(allowLists && { lists: true }) };
}

/** The vision tower, and where it runs. */
export function addTowerOptions(command: Command): Command {
  return command
    .addOption(
      option(
        '--model <name>',
        'a model by name: see longvlm models (default: nano, the embedded one)',
        'LONGVLM_MODEL',
      ),
    )
    .option('--offline', 'use models of the Hugging Face hub from the cache only, and download nothing')
    .addOption(
      option(
        '--vision <dir>',
        'the vision tower: a Hugging Face folder, the weights in one, or an mmproj .gguf (default: the tower in --projector, if that is an mmproj; without any models, the embedded model nano)',
        'LONGVLM_VISION',
      ),
    )
    .addOption(
      option('--vision-precision <type>', 'precision of the tower: float16 for GPUs, int8 for CPUs')
        .choices(visionPrecisions)
        .default('float32'),
    )
    .addOption(
      option(
        '--device <name>',
        "where vision tower and projector run: auto, cpu, or one of ONNX Runtime's execution providers",
      ).default('auto'),
    )
    .addOption(option('--threads <n>', 'threads on the CPU (default: all cores)').argParser(integer(1)))
    .addOption(option('--ffmpeg <path>', 'the ffmpeg to use (default: $FFMPEG_PATH, ffmpeg-static, then $PATH)'))
    .addOption(
      option('--video-limit <name=n>', `a limit for videos: ${limitNames.join(', ')}; can be given again`).argParser(
        videoLimit,
      ),
    )
    .option('--allow-lists', 'read playlists (HLS, DASH, IMF, concat), which can show any file of this machine');
}

/** How videos are sampled and merged, and whether features are cached. */
function addSamplingOptions(command: Command): Command {
  return command
    .addOption(
      option('--frames <n>', withDefault('frames sampled, evenly', defaultSampling.frames))
        .argParser(integer(1))
        .conflicts('fps'),
    )
    .addOption(
      option('--fps <n>', 'frames per second, instead of --frames; rounded to whole segments').argParser(
        decimal(0, Number.POSITIVE_INFINITY),
      ),
    )
    .addOption(option('--max-frames <n>', 'with --fps: at most that many frames').argParser(integer(1)))
    .addOption(
      option('--start <time>', 'start of the range to sample: seconds, or 1:02:03 (default: 0)').argParser(seconds),
    )
    .addOption(option('--end <time>', 'end of that range (default: the end of the video)').argParser(seconds))
    .addOption(
      option('--segment-frames <n>', withDefault('frames in one segment', defaultSampling.segmentFrames)).argParser(
        integer(1),
      ),
    )
    .addOption(
      option(
        '--merge-tokens <n>',
        withDefault('tokens kept of each segment', defaultSampling.tokensPerSegment),
      ).argParser(integer(1)),
    )
    .addOption(
      option('--tokens <n>', 'tokens of the whole video, which its segments share; all to reduce nothing').argParser(
        budget,
      ),
    )
    .addOption(
      option(
        '--global-layers <n>',
        withDefault('last layers whose [CLS] is averaged over all frames; 0 for none', defaultSampling.globalLayers),
      ).argParser(integer(0)),
    )
    .addOption(
      option(
        '--max-pixels <n>',
        'pixels of a frame at most, where the tower takes any size (default: 256 tokens of a step, or what --tokens leaves)',
      ).argParser(integer(1)),
    )
    .addOption(option('--resize <how>', "how frames are made square (default: the tower's own way)").choices(resizes))
    .addOption(
      option(
        '--reduction <how>',
        withDefault(
          'how the patches of a segment, or of the whole video, become few tokens',
          defaultSampling.reduction,
        ),
      ).choices(reductionNames()),
    )
    .addOption(
      option(
        '--reduction-options <options>',
        'options of the reduction itself: name=value, or a JSON object; can be given again',
      ).argParser(reductionOption),
    )
    .option('--no-cache', 'encode the video again, and cache nothing (see longvlm cache)');
}

/** The vision tower and how videos are sampled. */
export function addVisionOptions(command: Command): Command {
  return addSamplingOptions(addTowerOptions(command));
}

/** The projector and the language model. */
export function addLanguageOptions(command: Command): Command {
  return command
    .addOption(
      option(
        '--projector <file>',
        'the projector: an mmproj .gguf, .safetensors or PyTorch weights',
        'LONGVLM_PROJECTOR',
      ),
    )
    .addOption(option('--llm <file>', 'the language model, a .gguf file', 'LONGVLM_LLM'))
    .addOption(option('--gpu <kind>', 'where the language model runs; off for the CPU').choices(gpus).default('auto'))
    .addOption(
      option('--gpu-layers <n>', 'layers of the language model on the GPU (default: as many as fit)').argParser(
        integer(0),
      ),
    );
}

/**
 * How answers are made.
 * @param own temperature of a command that does not use the model's default
 */
export function addAnswerOptions(command: Command, own: { temperature?: number } = {}): Command {
  const temperature = '0 always takes the likeliest token';
  return command
    .addOption(
      option('--part <which>', 'which tokens of the video the language model sees (default: both)').choices(videoParts),
    )
    .option('--timestamps', 'say in the prompt at which time each part of the video is, as [MM:SS]')
    .addOption(option('--max-tokens <n>', 'longest answer, in tokens').argParser(integer(1)).default(1024))
    .addOption(
      option(
        '--temperature <t>',
        own.temperature === undefined
          ? withDefault(temperature, defaultOptions.temperature)
          : `${temperature} (default: ${own.temperature})`,
      ).argParser(decimal(0, Number.POSITIVE_INFINITY)),
    )
    .addOption(option('--top-k <n>', 'sample among the n likeliest tokens').argParser(integer(0)))
    .addOption(option('--top-p <p>', 'sample among the tokens that reach probability p').argParser(decimal(0, 1)))
    .addOption(option('--min-p <p>', 'leave out tokens below p times the likeliest').argParser(decimal(0, 1)))
    .addOption(option('--seed <n>', 'makes sampling repeatable').argParser(integer(0)))
    .addOption(option('--stop <text>', 'a text that ends the answer; may be given several times').argParser(collected))
    .addOption(option('--system <text>', 'what the model is told first (default: the text of the template)'))
    .addOption(
      option(
        '--template <name>',
        "layout of the prompt (default: the model's; that is the chat template in its file, or long_vlm_v1 without one)",
      ).choices([...promptTemplateNames]),
    )
    .addOption(
      option('--context-size <n>', 'size of the context in tokens (default: what is needed)').argParser(integer(16)),
    );
}

/** The flags as options of {@link LongVLM.load}; undefined means its default. Models are loaded lazily. */
export function loadOptions({ mergeTokens, ...flags }: ModelFlags): LongVLMOptions {
  const { model, vision, projector, llm } = flags;
  const { frames, fps, maxFrames, start, end, segmentFrames, globalLayers, maxPixels, resize } = flags;
  const { reduction, reductionOptions } = flags;
  const tokens = typeof flags.tokens === 'number' || flags.tokens === 'all' ? flags.tokens : undefined;
  const { offline, threads, ffmpeg, visionPrecision, device, gpu, gpuLayers, cache } = flags;
  return {
    ...{ model, vision, projector, llm, offline },
    ...{ frames, fps, maxFrames, start, end, segmentFrames, tokensPerSegment: mergeTokens, tokens },
    ...{ globalLayers, maxPixels, resize, reduction, reductionOptions },
    ...{ threads, ffmpeg, visionPrecision, device, gpu, gpuLayers, cache, limits: limitsOf(flags) },
    lazy: true,
  };
}

/** As {@link loadOptions}, for a command that needs the language model. */
export function loadOptionsToChat(flags: ModelFlags): LongVLMOptions {
  const { model, vision, projector, llm } = flags;
  const named = [vision, projector, llm].some((file) => file !== undefined);
  if (model === undefined && named && ((projector === undefined && vision === undefined) || llm === undefined))
    throw new TypeError(
      'Expected --projector and --llm: name them, and --vision unless the projector is an mmproj file, or none of the three for the embedded model. A tower with a projector of its own needs no --projector',
    );
  return loadOptions(flags);
}

/** The flags as a chat's questions take them. */
export function askOptions({ maxTokens, temperature, topK, topP, minP, seed, stop }: AnswerFlags) {
  return { maxTokens, temperature, topK, topP, minP, seed, stop };
}

/** The flags as {@link LongVLM.chat} takes them. */
export function chatOptions(flags: AnswerFlags) {
  const { template, system, contextSize, timestamps } = flags;
  return { part: partOf(flags), template, system, contextSize, timestamps };
}

/** Whether a VIDEO argument names a file made by `encode`. */
export function isFeaturesFile(video: string): boolean {
  return video.endsWith('.safetensors');
}

/** The video's features: read when `video` is a features file, else encoded, unless the question would not fit. */
export async function featuresOf(
  vlm: LongVLM,
  video: string,
  question: string | undefined,
  options: Parameters<LongVLM['encodeFor']>[2],
): Promise<VideoFeatures> {
  if (isFeaturesFile(video)) return VideoFeatures.load(video, { tower: vlm.tower });
  return vlm.encodeFor(question, video, options);
}
