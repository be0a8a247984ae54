import { Command, Option } from 'commander';
import { checkFeaturesOutput } from '../encode/featuresFile.js';
import type { VideoEncoder } from '../encode/videoEncoder.js';
import { videoReport } from '../encode/videoReport.js';
import { loadVideoEncoder } from '../load/loadModels.js';
import { addLanguageOptions, addVisionOptions, loadOptions, type ModelFlags } from './options.js';
import { checkOutput } from './output.js';
import { ProgressBar } from './progress.js';
import { videoLine, warningLines } from './report.js';
import { milliseconds, run } from './run.js';
import { writeJson } from './write.js';

type Flags = ModelFlags & { output: string; type: 'float32' | 'float16'; json?: boolean };

/** `longvlm encode VIDEO -o features.safetensors` */
export function encodeCommand(): Command {
  const command = new Command('encode')
    .description('encode a video once, for many questions later')
    .argument('<video>', 'a video, an animation or a still image')
    .requiredOption('-o, --output <file>', 'the features file to write (.safetensors)');
  // The same flags as `ask`, so that one command line serves both. The language model is not loaded.
  return addLanguageOptions(addVisionOptions(command))
    .addOption(
      new Option('--type <type>', 'element type of the file').choices(['float32', 'float16']).default('float32'),
    )
    .option('--json', 'print one JSON object')
    .action((video: string, flags: Flags) => run((signal) => encode(video, flags, signal)));
}

async function encode(video: string, flags: Flags, signal: AbortSignal): Promise<void> {
  await checkOutput(flags.output, { ending: '.safetensors', input: video });
  await checkFeaturesOutput(flags.output);
  const started = performance.now();
  const progress = new ProgressBar();
  let encoder: VideoEncoder | undefined;
  try {
    encoder = await loadVideoEncoder({ ...loadOptions(flags), onProgress: progress.onProgress, signal });
    const loaded = performance.now();
    const features = await encoder.encode(video, { onProgress: progress.onProgress, signal });
    await features.save(flags.output, { type: flags.type });
    const ended = performance.now();
    progress.stop();
    process.stderr.write(warningLines(features.source));
    if (flags.json) {
      const timings = { load: milliseconds(loaded - started), encode: milliseconds(ended - loaded) };
      writeJson({ output: flags.output, video: videoReport(features), timings });
    } else process.stderr.write(`${videoLine(features)} -> ${flags.output}\n`);
  } finally {
    progress.stop();
    await encoder?.dispose();
  }
}
