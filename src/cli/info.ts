import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { Command } from 'commander';
import { LongVLMError, messageOf } from '../base/errors.js';
import { escaped, printable } from '../base/printable.js';
import { version } from '../base/version.js';
import { binding } from '../binding.js';
import { ortLibrary } from '../compute/ortLibrary.js';
import { formatOf } from '../files/openWeights.js';
import { describeModels } from '../load/describeModels.js';
import { namesModels } from '../load/options.js';
import { findFfmpeg } from '../video/ffmpeg.js';
import { openVideo } from '../video/openVideo.js';
import { addLanguageOptions, addTowerOptions, limitsOf, loadOptions, type ModelFlags } from './options.js';
import { ProgressBar } from './progress.js';
import { run } from './run.js';
import { writeJson } from './write.js';

type Flags = ModelFlags & { json?: boolean };

/** `longvlm info [VIDEO]` */
export function infoCommand(): Command {
  const command = new Command('info')
    .description('show the installed versions, the models and where they run; with a video, its properties')
    .argument('[video]', 'a video, an animation or a still image');
  return addLanguageOptions(addTowerOptions(command))
    .option('--json', 'print one JSON object')
    .action((video: string | undefined, flags: Flags) => run((signal) => info(video, flags, signal)));
}

async function info(video: string | undefined, flags: Flags, signal: AbortSignal): Promise<void> {
  const report: Record<string, object> = { longvlm: await installation(flags.ffmpeg) };
  if (video !== undefined) report.video = await describeVideo(video, flags, signal);
  Object.assign(report, await modelsReport(flags, signal));
  if (flags.json) writeJson(report);
  else process.stdout.write(table(report));
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
    onnxruntime: await valueOrReason(() => binding().ortLibrary({ library: ortLibrary() }).version),
    'node-llama-cpp': await valueOrReason(() => packageVersion('node-llama-cpp')),
  };
}

/** `info` reports a broken component instead of failing because of it. */
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

async function describeVideo(video: string, { ffmpeg, ...flags }: Flags, signal: AbortSignal) {
  const opened = await openVideo(video, { signal, limits: limitsOf(flags), ...(ffmpeg !== undefined && { ffmpeg }) });
  const found = await opened
    .probe(signal)
    .catch(async (error: unknown) => Promise.reject((await weightsInstead(video)) ?? error))
    .finally(() => opened.dispose());
  const { path, kind, durationSeconds, frameCount, frameRate, variableFrameRate } = found;
  const { width, height, rotation, mirrored, codec, container, warnings } = found;
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
    ...(mirrored && { mirrored }),
    codec,
    container,
    ...(warnings.length > 0 && { warnings: warnings.join(' ') }),
  };
}

/** The error for weights, or features, that were given as a video; undefined for anything else. */
async function weightsInstead(video: string): Promise<LongVLMError | undefined> {
  const format = await formatOf(video).catch(() => undefined);
  if (format === undefined || format === 'zip') return undefined;
  const holds = format === 'safetensors' ? 'weights of a model, or features of a video' : 'weights of a model';
  return new LongVLMError(
    'ERR_LONGVLM_VIDEO',
    `${printable(video)} holds ${holds}, and no video. Name weights with --vision, --projector or --llm; give features to ask or chat.`,
  );
}

async function modelsReport(flags: Flags, signal: AbortSignal): Promise<object> {
  const progress = new ProgressBar();
  try {
    return await describeModels({ ...loadOptions(flags), onProgress: progress.onProgress, signal });
  } catch (error) {
    signal.throwIfAborted();
    // A broken embedded model is reported like any other component.
    if (!namesModels(flags) && error instanceof LongVLMError) return { preset: { problem: messageOf(error) } };
    throw error;
  } finally {
    progress.stop();
  }
}

function table(report: Record<string, object>): string {
  const blocks = Object.entries(report).map(([name, values]) => {
    const lines = Object.entries(values).map(
      // Names in it come from files.
      ([key, value]) => `  ${key.padEnd(18)} ${escaped(String(value))}`,
    );
    return [name, ...lines].join('\n');
  });
  return `${blocks.join('\n\n')}\n`;
}
