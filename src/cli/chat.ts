import { createInterface } from 'node:readline';
import { Command } from 'commander';
import { videoReport } from '../encode/videoReport.js';
import type { VideoChat } from '../llm/chat.js';
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
import { videoLine, warningLines } from './report.js';
import { milliseconds, run } from './run.js';
import { withLongVLM } from './withLongVLM.js';
import { writeAnswer, writeJson } from './write.js';

type Flags = ModelFlags & AnswerFlags & { json?: boolean };

/** `longvlm chat VIDEO` */
export function chatCommand(): Command {
  const command = new Command('chat')
    .description('ask several questions about a video; questions come from the terminal, or a line each from a pipe')
    .argument('<video>', 'a video, an animation, a still image, or a features file made by encode');
  addAnswerOptions(addLanguageOptions(addVisionOptions(command)));
  return command
    .option('--json', 'print one JSON object for each answer')
    .action((video: string, flags: Flags) => run((signal) => chat(video, flags, signal)));
}

async function chat(video: string, flags: Flags, signal: AbortSignal): Promise<void> {
  await withLongVLM(flags, signal, async (vlm, progress) => {
    const { onProgress } = progress;
    const features = await featuresOf(vlm, video, undefined, { ...chatOptions(flags), onProgress, signal });
    progress.stop();
    process.stderr.write(`${warningLines(features.source)}${videoLine(features, partOf(flags))}\n`);
    await vlm.releaseVision();
    const conversation = await vlm.chat(features, { ...chatOptions(flags), signal });
    progress.stop();
    for await (const question of questions(signal)) {
      await answer(conversation, question, flags, signal);
      if (flags.json) {
        const { text, tokenIds, stopReason, timings } = conversation.lastAnswer!;
        const report = {
          question,
          answer: text,
          tokenIds,
          stopReason,
          video: videoReport(features, partOf(flags)),
          timings: { firstToken: milliseconds(timings.firstToken), answer: milliseconds(timings.total) },
        };
        writeJson(report);
      }
    }
  });
}

async function answer(conversation: VideoChat, question: string, flags: Flags, signal: AbortSignal): Promise<void> {
  for await (const text of conversation.stream(question, { ...askOptions(flags), signal }))
    if (!flags.json) writeAnswer(text);
  if (!flags.json) process.stdout.write('\n');
}

/** Non-empty lines of standard input, until its end or `/exit`. In a terminal, each line is asked for with a prompt. */
async function* questions(signal: AbortSignal): AsyncGenerator<string, void, void> {
  const terminal = process.stdin.isTTY === true;
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal, prompt: '> ', signal });
  // In a terminal, readline consumes Ctrl-C as a key: forward it as a signal.
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  try {
    if (terminal) {
      process.stderr.write('Ask about the video. /exit or Ctrl-D ends.\n');
      lines.prompt();
    }
    for await (const line of lines) {
      const question = line.trim();
      if (question === '/exit') return;
      if (question !== '') yield question;
      if (terminal) lines.prompt();
    }
    signal.throwIfAborted();
  } finally {
    lines.close();
  }
}
