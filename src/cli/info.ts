import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { Command } from 'commander';
import { binding } from '../binding.js';
import { messageOf } from '../errors.js';
import { LongVLM } from '../longvlm.js';
import { readNano } from '../models/nano.js';
import { version } from '../version.js';
import { findFfmpeg } from '../video/ffmpeg.js';
import { probeVideo } from '../video/probe.js';
import { run } from './run.js';

type Flags = { model?: string; vision?: string; projector?: string; llm?: string; ffmpeg?: string; json?: boolean };

/** `longvlm info [VIDEO]` */
export function infoCommand(): Command {
  return new Command('info')
    .description('show what is installed here and what the models are; with a video, what is in it')
    .argument('[video]', 'a video, an animation or a still image')
    .option('--model <name>', 'a model by name to describe: see longvlm models')
    .option('--vision <dir>', 'a vision tower to describe (default: the embedded model, nano)')
    .option('--projector <file>', 'a projector to describe, with --vision unless it is an mmproj file')
    .option('--llm <file>', 'a language model to describe, with the two')
    .option('--ffmpeg <path>', 'the ffmpeg to use (default: $FFMPEG_PATH, ffmpeg-static, then $PATH)')
    .option('--json', 'print one JSON object')
    .action((video: string | undefined, flags: Flags) => run((signal) => info(video, flags, signal)));
}

async function info(video: string | undefined, flags: Flags, signal: AbortSignal): Promise<void> {
  const report: Record<string, object> = { longvlm: await installation(flags.ffmpeg) };
  if (video !== undefined) report.video = await describeVideo(video, flags.ffmpeg, signal);
  const { model, vision, projector, llm } = flags;
  const named = [model, vision, projector, llm].some((part) => part !== undefined);
  Object.assign(report, await (named ? describeModels(flags, signal) : describeEmbedded(signal)));
  process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : table(report));
}

async function installation(ffmpeg: string | undefined) {
  return {
    version,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    cores: availableParallelism(),
    kernels: await valueOrReason(() => binding().instructionSet()),
    ffmpeg: await valueOrReason(async () => {
      const found = await findFfmpeg(ffmpeg);
      return `${found.version} (${found.path})`;
    }),
    onnxruntime: packageVersion('onnxruntime-node'),
    'node-llama-cpp': packageVersion('node-llama-cpp'),
  };
}

/** A part that does not work is what one wants to read about here, so it is no failure of the command. */
async function valueOrReason(find: () => string | Promise<string>): Promise<string> {
  try {
    return await find();
  } catch (error) {
    return messageOf(error).split('\n')[0]!;
  }
}

function packageVersion(name: string): string {
  const require = createRequire(import.meta.url);
  const entry = require.resolve(name);
  const folder = entry.slice(0, entry.lastIndexOf(name) + name.length);
  return (require(`${folder}/package.json`) as { version: string }).version;
}

async function describeVideo(video: string, ffmpeg: string | undefined, signal: AbortSignal) {
  const found = await probeVideo(video, { signal, ...(ffmpeg !== undefined && { ffmpeg }) });
  const { path, kind, durationSeconds, frameCount, frameRate, variableFrameRate } = found;
  const { width, height, rotation, codec, container, warnings } = found;
  return {
    path,
    kind,
    durationSeconds,
    frameCount,
    frameRate,
    variableFrameRate,
    width,
    height,
    rotation,
    codec,
    container,
    ...(warnings.length > 0 && { warnings: warnings.join(' ') }),
  };
}

async function describeModels(flags: Flags, signal: AbortSignal): Promise<object> {
  const vlm = await LongVLM.load({
    ...(flags.model !== undefined && { model: flags.model }),
    ...(flags.vision !== undefined && { vision: flags.vision }),
    ...(flags.projector !== undefined && { projector: flags.projector }),
    ...(flags.llm !== undefined && { llm: flags.llm }),
    // As a description needs neither, they must not be what fails.
    globalLayers: 1,
    tokensPerSegment: 1,
    signal,
  });
  try {
    return vlm.parts;
  } finally {
    await vlm.dispose();
  }
}

/** As with the rest of an installation, that it does not work is an answer. */
async function describeEmbedded(signal: AbortSignal): Promise<object> {
  try {
    const { name, options } = readNano();
    const vlm = await LongVLM.load({ signal });
    try {
      const { template } = options;
      const use = { ...vlm.sampling, temperature: options.temperature };
      return {
        preset: { name, ...use, template: typeof template === 'string' ? template : template.name },
        ...vlm.parts,
      };
    } finally {
      await vlm.dispose();
    }
  } catch (error) {
    signal.throwIfAborted();
    return { preset: { problem: messageOf(error) } };
  }
}

function table(report: Record<string, object>): string {
  const blocks = Object.entries(report).map(([name, values]) => {
    const lines = Object.entries(values).map(([key, value]) => `  ${key.padEnd(18)} ${String(value)}`);
    return [name, ...lines].join('\n');
  });
  return `${blocks.join('\n\n')}\n`;
}
