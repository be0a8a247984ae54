import { Command } from 'commander';
import { videoReport } from '../encode/videoReport.js';
import {
  type AnswerFlags,
  addAnswerOptions,
  addLanguageOptions,
  addVisionOptions,
  askOptions,
  chatOptions,
  featuresOf,
  type ModelFlags,
  partOf,
} from './options.js';
import { devicesOf, videoLine, warningLines } from './report.js';
import { milliseconds, run } from './run.js';
import { withLongVLM } from './withLongVLM.js';
import { writeAnswer, writeJson } from './write.js';

type Flags = ModelFlags & AnswerFlags & { json?: boolean };

/** `longvlm ask VIDEO QUESTION` */
export function askCommand(): Command {
  const command = new Command('ask')
    .description('answer one question about a video')
    .argument('<video>', 'a video, an animation, a still image, or a features file made by encode')
    .argument('<question>', 'what to ask');
  addAnswerOptions(addLanguageOptions(addVisionOptions(command)));
  return command
    .option('--json', 'print one JSON object instead of the text')
    .action((video: string, question: string, flags: Flags) => run((signal) => ask(video, question, flags, signal)));
}

async function ask(video: string, question: string, flags: Flags, signal: AbortSignal): Promise<void> {
  const started = performance.now();
  await withLongVLM(flags, signal, async (vlm, progress) => {
    const loaded = performance.now();
    const { onProgress } = progress;
    const features = await featuresOf(vlm, video, question, { ...chatOptions(flags), onProgress, signal });
    const encoded = performance.now();
    progress.stop();
    process.stderr.write(warningLines(features.source));
    const vision = vlm.models.vision.device;
    await vlm.releaseVision();
    const answer = await vlm.ask(features, question, {
      ...chatOptions(flags),
      ...askOptions(flags),
      signal,
      onText: (text) => {
        progress.stop();
        if (!flags.json) writeAnswer(text);
      },
    });
    progress.stop();
    if (flags.json) {
      const report = {
        answer: answer.text,
        tokenIds: answer.tokenIds,
        stopReason: answer.stopReason,
        video: videoReport(features, partOf(flags)),
        devices: devicesOf(vlm, vision),
        timings: {
          load: milliseconds(loaded - started),
          encode: milliseconds(encoded - loaded),
          firstToken: milliseconds(performance.now() - encoded - answer.timings.total + answer.timings.firstToken),
          answer: milliseconds(answer.timings.total),
          total: milliseconds(performance.now() - started),
        },
      };
      writeJson(report);
    } else {
      process.stdout.write('\n');
      process.stderr.write(
        `${videoLine(features, partOf(flags))}; ${(answer.timings.total / 1000).toFixed(1)} s for the answer\n`,
      );
    }
  });
}
