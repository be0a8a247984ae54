import { Command, Option } from 'commander';
import { printable } from '../base/printable.js';
import { embeddedRunner } from '../batch/embeddedRunner.js';
import type { BatchItem, BatchRunner, ItemOptions } from '../batch/item.js';
import { type ListQuestion, readList, readQuestions } from '../batch/readList.js';
import { readResults } from '../batch/resultsFile.js';
import { type BatchProgress, runBatch } from '../batch/runBatch.js';
import { videoEndings } from '../batch/videoFolder.js';
import {
  type AnswerFlags,
  addAnswerOptions,
  addLanguageOptions,
  addVisionOptions,
  askOptions,
  chatOptions,
  collected,
  integer,
  limitsOf,
  loadOptions,
  type ModelFlags,
} from './options.js';
import { checkOutput } from './output.js';
import type { ProgressBar } from './progress.js';
import { addQueueOptions, type QueueFlags, withQueueRunner } from './queueOptions.js';
import { milliseconds, run } from './run.js';
import { withLongVLM } from './withLongVLM.js';
import { writeJson } from './write.js';

/** The flags of `longvlm batch`. */
export type BatchFlags = ModelFlags &
  AnswerFlags &
  QueueFlags & {
    output: string;
    questions?: string;
    question?: string[];
    recursive?: boolean;
    parallel?: number;
    retry?: boolean;
    force?: boolean;
    folder?: string[];
    allowHost?: string[];
    allowPrivate?: boolean;
    json?: boolean;
  };

/** How many failed items are named. */
const mostNamed = 20;

/** `longvlm batch LIST` */
export function batchCommand(): Command {
  const command = new Command('batch')
    .description('ask many videos, a line of JSON for each answer; the same command goes on after it was ended')
    .argument(
      '<list>',
      'a folder of videos; a text file with a path or URL a line; JSON Lines of {"video"} and, if wanted, "question", "id", "options"; or an OpenAI batch file',
    )
    .requiredOption('-o, --output <file>', 'the results to write, or to go on with (.jsonl)')
    .option(
      '--questions <file>',
      'what to ask about each video: a question a line, or JSON Lines of {"question", "id"}',
    )
    .addOption(new Option('--question <text>', 'a question; can be given again').argParser(collected))
    .option('--recursive', 'videos in folders of the folder, too')
    .addOption(
      new Option(
        '--parallel <n>',
        'videos in work at a time: while one is answered, the next is encoded (default: 2; with --queue 32)',
      ).argParser(integer(1)),
    )
    .option('--retry', 'ask the items again that failed')
    .option('--force', 'remove results of another model or other options from the output, and ask these items again')
    .addOption(
      new Option(
        '--folder <dir>',
        'in OpenAI batch files: a folder whose files file: URLs may name; can be given again',
      ).argParser(collected),
    )
    .addOption(
      new Option(
        '--allow-host <name>',
        'in OpenAI batch files: a host that URLs may lead to, or *.NAME for those below; can be given again (default: all)',
      ).argParser(collected),
    )
    .option('--allow-private', 'in OpenAI batch files: URLs of this machine and of private networks, too')
    .option('--json', 'print one JSON object at the end')
    .addHelpText(
      'after',
      `
Examples:
  longvlm batch ~/Videos --question "What is shown?" -o results.jsonl
  longvlm batch list.txt --questions questions.txt -o results.jsonl --retry
  longvlm batch requests.jsonl --folder ~/Videos -o responses.jsonl

Of a folder, these files are taken: ${videoEndings.join(' ')}`,
    );
  addQueueOptions(command, 'have the questions answered by the workers (longvlm worker) of');
  return addAnswerOptions(addLanguageOptions(addVisionOptions(command))).action((list: string, flags: BatchFlags) =>
    run((signal) => batch(list, flags, signal)),
  );
}

async function batch(list: string, flags: BatchFlags, signal: AbortSignal): Promise<void> {
  const { output, retry, force } = flags;
  const parallel = flags.parallel ?? (flags.queue === undefined ? 2 : 32);
  await checkOutput(output, { ending: '.jsonl', input: list });
  const items = await itemsOf(list, flags, signal);
  const started = performance.now();
  await withRunner(flags, signal, async (runner, progress) => {
    let now: BatchProgress | undefined;
    let earlier: number | undefined;
    const onProgress = (at: BatchProgress) => {
      earlier ??= at.done;
      now = at;
      progress.onProgress(at);
    };
    const options = itemOptionsOf(flags);
    try {
      for await (const _ of runBatch(items, { runner, options, output, retry, force, parallel, onProgress, signal }));
    } catch (error) {
      progress.stop();
      if (now !== undefined)
        process.stderr.write(
          `stopped: ${now.done} of ${now.total} are in ${printable(output)}. The same command goes on from there.\n`,
        );
      throw error;
    }
    progress.stop();
    const { done, failed } = now!;
    const timings = { total: milliseconds(performance.now() - started) };
    if (flags.json) writeJson({ output, items: done, answered: done - failed, failed, earlier, timings });
    else process.stderr.write(`${done - failed} answered, ${failed} failed -> ${output}\n`);
    if (failed > 0) await tellFailures(items, output, failed);
  });
}

/** Calls `use` with what answers the items, which is freed when that has ended. */
async function withRunner(
  flags: BatchFlags,
  signal: AbortSignal,
  use: (runner: BatchRunner, progress: ProgressBar) => Promise<void>,
): Promise<void> {
  if (flags.queue !== undefined) return withQueueRunner(flags, signal, use);
  await withLongVLM(flags, signal, async (vlm, progress) => {
    const { folder, allowHost, allowPrivate, contextSize, parallel } = flags;
    const limits = { ...limitsOf(flags), privateAddresses: allowPrivate === true, hosts: allowHost };
    const runner = await embeddedRunner(vlm, { parallel, requests: { folders: folder, limits, contextSize } });
    try {
      await use(runner, progress);
    } finally {
      await runner.dispose();
    }
  });
}

async function itemsOf(list: string, flags: BatchFlags, signal: AbortSignal): Promise<BatchItem[]> {
  const questions: ListQuestion[] = (flags.question ?? []).map((question) => ({ question }));
  if (flags.questions !== undefined) questions.push(...(await readQuestions(flags.questions, signal)));
  return readList(list, { questions, recursive: flags.recursive === true, signal });
}

/** What flags say of all questions: whoever answers them may have loaded the models with other defaults. */
function itemOptionsOf(flags: BatchFlags): ItemOptions {
  const { frames, fps, maxFrames, start, end, segmentFrames, tokensPerSegment, tokens } = loadOptions(flags);
  const { globalLayers, resize, reduction, reductionOptions } = loadOptions(flags);
  const sampling = { frames, fps, maxFrames, start, end, segmentFrames, tokensPerSegment, tokens };
  const how = { globalLayers, resize, reduction: reduction as string | undefined, reductionOptions };
  const all = { ...sampling, ...how, ...chatOptions(flags), ...askOptions(flags) };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as ItemOptions;
}

async function tellFailures(items: readonly BatchItem[], output: string, failed: number): Promise<void> {
  const ids = new Set(items.map(({ id }) => id));
  let named = 0;
  for await (const { id, failure } of readResults(output)) {
    if (failure === undefined || !ids.has(id)) continue;
    if (named++ < mostNamed) process.stderr.write(`failed: ${printable(id)}: ${printable(failure)}\n`);
  }
  if (named > mostNamed) process.stderr.write(`failed: ${named - mostNamed} more, in ${printable(output)}\n`);
  process.stderr.write(`longvlm: ${failed} of ${items.length} failed. Ask them again with --retry.\n`);
  process.exitCode = 1;
}
