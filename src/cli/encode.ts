import { access, constants } from 'node:fs/promises';
import path from 'node:path';
import { Command, Option } from 'commander';
import { LongVLMError, messageOf } from '../errors.js';
import { LongVLM } from '../longvlm.js';
import { wrongValue } from '../validate.js';
import { addVisionOptions, loadOptions, type ModelFlags } from './options.js';
import { Progress } from './progress.js';
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
  await checkOutput(flags.output);
  const started = performance.now();
  const progress = new Progress();
  let vlm: LongVLM | undefined;
  try {
    vlm = await LongVLM.load({ ...loadOptions(flags), signal });
    const loaded = performance.now();
    const features = await vlm.encode(video, { onProgress: progress.onEncode, signal });
    await features.save(flags.output, { type: flags.type });
    const ended = performance.now();
    progress.stop();
    process.stderr.write(warningLines(features));
    if (flags.json) {
      const timings = { load: milliseconds(loaded - started), encode: milliseconds(ended - loaded) };
      process.stdout.write(`${JSON.stringify({ output: flags.output, video: videoReport(features), timings })}\n`);
    } else process.stderr.write(`${videoLine(features)} -> ${flags.output}\n`);
  } finally {
    progress.stop();
    await vlm?.dispose();
  }
}

/** What would make the last step fail, found before the first. The name also keeps a video from being overwritten. */
async function checkOutput(output: string): Promise<void> {
  if (!output.endsWith('.safetensors')) wrongValue('--output', 'name that ends in .safetensors', output);
  const folder = path.dirname(path.resolve(output));
  await access(folder, constants.W_OK).catch((error: unknown) => {
    throw new LongVLMError(
      'ERR_LONGVLM_FILE',
      `Cannot write into ${folder}: ${messageOf(error)}. Give another --output.`,
    );
  });
}
