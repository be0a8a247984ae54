import { Command, Option } from 'commander';
import { escaped } from '../base/printable.js';
import { wrongValue } from '../base/validate.js';
import { writeWholeFile } from '../base/wholeFile.js';
import { VideoFeatures, type VideoPart, videoParts } from '../encode/videoFeatures.js';
import { lookAt } from '../inspect/inspectVideo.js';
import { type InspectionEnding, inspectionContent, inspectionEndings } from '../inspect/report.js';
import {
  addLanguageOptions,
  addVisionOptions,
  integer,
  isFeaturesFile,
  loadOptions,
  type ModelFlags,
} from './options.js';
import { checkOutput } from './output.js';
import { milliseconds, run } from './run.js';
import { withLongVLM } from './withLongVLM.js';
import { writeJson } from './write.js';

type Flags = ModelFlags & {
  output: string;
  part?: VideoPart;
  timestamps?: boolean;
  question?: string;
  thumbnails: number;
  json?: boolean;
};

/** `longvlm inspect VIDEO -o report.html` */
export function inspectCommand(): Command {
  const command = new Command('inspect')
    .description('show what the language model sees of a video: segments, which patches became one token, the prompt')
    .argument('<video>', 'a video, an animation, a still image, or a features file made by encode')
    .requiredOption('-o, --output <file>', `the file to write (${inspectionEndings.join(', ')})`);
  return addLanguageOptions(addVisionOptions(command))
    .addOption(
      new Option('--part <which>', 'which tokens of the video the language model sees (default: both)').choices(
        videoParts,
      ),
    )
    .option('--timestamps', 'say in the prompt at which time each part of the video is, as [MM:SS]')
    .option('--question <text>', 'a question that the prompt is shown with')
    .addOption(
      new Option('--thumbnails <n>', 'pixels of the longer edge of frames, at most 512; 0 for none')
        .argParser(integer(0))
        .default(112),
    )
    .option('--json', 'print one JSON object about the file')
    .action((video: string, flags: Flags) => run((signal) => inspect(video, flags, signal)));
}

async function inspect(video: string, flags: Flags, signal: AbortSignal): Promise<void> {
  const { output, part, timestamps, question, thumbnails } = flags;
  const ending = endingOf(output);
  await checkOutput(output, { ending, input: video });
  const started = performance.now();
  await withLongVLM(
    flags,
    signal,
    async (vlm, progress) => {
      const { onProgress } = progress;
      const input = isFeaturesFile(video) ? await VideoFeatures.load(video, { tower: vlm.tower }) : video;
      const sight = await lookAt(vlm, input, { part, timestamps, question, thumbnails, onProgress, signal });
      const content = await inspectionContent(sight, ending, signal);
      signal.throwIfAborted();
      await writeWholeFile(output, (handle) => handle.writeFile(content));
      progress.stop();
      const { segments, tokens, method, notes, video: source } = sight.inspection;
      for (const note of [...source.warnings, ...notes]) process.stderr.write(`note: ${escaped(note)}\n`);
      if (flags.json) {
        const { frames, reduction } = method;
        const total = milliseconds(performance.now() - started);
        writeJson({ output, frames, segments: segments.length, reduction, tokens, notes, timings: { total } });
      } else
        process.stderr.write(
          `${method.frames} frames in ${segments.length} ${segments.length === 1 ? 'segment' : 'segments'}, ${tokens.patches} patches as ${tokens.video} tokens -> ${output}\n`,
        );
    },
    loadOptions,
  );
}

function endingOf(output: string): InspectionEnding {
  return (
    inspectionEndings.find((each) => output.endsWith(each)) ??
    wrongValue('--output', `name that ends in ${inspectionEndings.join(', ')}`, output)
  );
}
