import { Command, Option } from 'commander';
import type { LongVLMOptions } from '../load/options.js';
import { LongVLM } from '../longvlm.js';
import { catalogue } from '../models/catalogue.js';
import { readNano } from '../models/nano.js';
import { addVisionOptions, loadOptions, type ModelFlags } from './options.js';
import { checkOutput } from './output.js';
import { ProgressBar } from './progress.js';
import { videoLine, videoReport, warningLines } from './report.js';
import { milliseconds, run } from './run.js';

type Flags = ModelFlags & { output: string; type: 'float32' | 'float16'; json?: boolean };

/** `longvlm encode VIDEO -o features.safetensors` */
export function encodeCommand(): Command {
  const command = new Command('encode')
    .description('encode a video once, for many questions later')
    .argument('<video>', 'a video, an animation or a still image')
    .requiredOption('-o, --output <file>', 'the features file to write (.safetensors)');
  return addVisionOptions(command)
    .addOption(
      new Option('--type <type>', 'element type of the file').choices(['float32', 'float16']).default('float32'),
    )
    .option('--json', 'print one JSON object')
    .action((video: string, flags: Flags) => run((signal) => encode(video, flags, signal)));
}

async function encode(video: string, flags: Flags, signal: AbortSignal): Promise<void> {
  await checkOutput(flags.output, '.safetensors');
  const started = performance.now();
  const progress = new ProgressBar();
  let vlm: LongVLM | undefined;
  try {
    vlm = await LongVLM.load({ ...towerOptions(flags), onDownload: progress.onProgress, signal });
    const loaded = performance.now();
    const features = await vlm.encode(video, { onProgress: progress.onProgress, signal });
    await features.save(flags.output, { type: flags.type });
    const ended = performance.now();
    progress.stop();
    process.stderr.write(warningLines(features.source));
    if (flags.json) {
      const timings = { load: milliseconds(loaded - started), encode: milliseconds(ended - loaded) };
      process.stdout.write(`${JSON.stringify({ output: flags.output, video: videoReport(features), timings })}\n`);
    } else process.stderr.write(`${videoLine(features)} -> ${flags.output}\n`);
  } finally {
    progress.stop();
    await vlm?.dispose();
  }
}

/** As {@link loadOptions}; of a model by name only what encoding needs. */
function towerOptions(flags: Flags): LongVLMOptions {
  const { model, ...options } = loadOptions(flags);
  if (options.vision !== undefined) return options;
  const known = catalogue.find(({ name }) => name === model)?.options;
  // Of a name that nobody knows load() says so.
  if (model !== undefined && model !== 'nano' && known === undefined) return { ...options, model };
  const { projector, llm: _, ...preset } = known ?? readNano().options;
  const named = Object.entries(options).filter(([, value]) => value !== undefined);
  return { vision: projector, ...preset, ...Object.fromEntries(named) };
}
