import { rm } from 'node:fs/promises';
import { Command } from 'commander';
import { printable } from '../base/printable.js';
import { readDataset } from '../eval/dataset.js';
import { type EvaluationResult, evaluate } from '../eval/evaluate.js';
import { checkPredictionsOutput, savePredictions } from '../eval/predictions.js';
import {
  type AnswerFlags,
  addAnswerOptions,
  addLanguageOptions,
  addVisionOptions,
  askOptions,
  chatOptions,
  decimal,
  integer,
  type ModelFlags,
} from './options.js';
import { checkOutput } from './output.js';
import { warningLines } from './report.js';
import { milliseconds, run } from './run.js';
import { withLongVLM } from './withLongVLM.js';
import { writeJson } from './write.js';

type Flags = ModelFlags &
  AnswerFlags & {
    output?: string;
    features?: string;
    root?: string;
    limit?: number;
    minScore?: number;
    minKindScore?: number;
    json?: boolean;
  };

/** `longvlm eval DATASET` */
export function evalCommand(): Command {
  const command = new Command('eval')
    .description('answer the questions of a data set about videos, and score the answers')
    .argument('<dataset>', 'JSON Lines: {"video", "question", "answer"} and, if wanted, "kind" and "question2"')
    .option(
      '-o, --output <file>',
      'predictions to write (.json); until the end, answers are in FILE.unfinished.jsonl, to resume from',
    )
    .option('--features <dir>', 'cache the features of videos in this folder, for later evaluations')
    .option('--root <dir>', 'a folder that all videos must be in, for data sets of strangers (default: any file)')
    .option('--limit <n>', 'only the first n videos (default: all)', integer(1))
    .option('--min-score <x>', 'exit with code 1 if the overall score is below x', decimal(0, 1))
    .option('--min-kind-score <x>', 'exit with code 1 if the score of any kind is below x', decimal(0, 1))
    .option('--json', 'print one JSON object instead of the table');
  return addAnswerOptions(addLanguageOptions(addVisionOptions(command)), { temperature: 0 }).action(
    (dataset: string, flags: Flags) => run((signal) => evaluateDataset(dataset, flags, signal)),
  );
}

async function evaluateDataset(file: string, flags: Flags, signal: AbortSignal): Promise<void> {
  const { output, features: featuresFolder, root } = flags;
  const resume = output === undefined ? undefined : `${output}.unfinished.jsonl`;
  if (output !== undefined) {
    await checkOutput(output, { ending: '.json', input: file });
    await checkPredictionsOutput(output);
  }
  const dataset = await readDataset(file, {
    ...(root !== undefined && { root }),
    ...(flags.limit !== undefined && { videos: flags.limit }),
    signal,
  });
  const started = performance.now();
  await withLongVLM(flags, signal, async (vlm, progress) => {
    const loaded = performance.now();
    const result = await evaluate(vlm, dataset, {
      ...chatOptions(flags),
      ...askOptions(flags),
      featuresFolder,
      resume,
      root,
      onProgress: progress.onProgress,
      signal,
    });
    if (output !== undefined) await savePredictions(output, result.predictions);
    if (resume !== undefined) await rm(resume, { force: true }).catch(() => {});
    const ended = performance.now();
    progress.stop();
    process.stderr.write(warningLines(result));
    if (flags.json) {
      const { kinds, overall } = result;
      const videos = new Set(dataset.entries.map(({ video }) => video)).size;
      const timings = { load: milliseconds(loaded - started), evaluate: milliseconds(ended - loaded) };
      writeJson({ dataset: file, videos, kinds, overall, output, timings });
    } else process.stdout.write(table(result));
    for (const shortfall of shortfalls(result, flags)) {
      process.stderr.write(`longvlm: ${shortfall}\n`);
      process.exitCode = 1;
    }
  });
}

/** A sentence for each score below `--min-score` or `--min-kind-score`. */
function shortfalls({ overall, kinds }: EvaluationResult, { minScore = 0, minKindScore = 0 }: Flags): string[] {
  const below = kinds.filter(({ score }) => score < minKindScore);
  return [
    ...(overall.score < minScore ? [`the overall score ${overall.score} is below --min-score ${minScore}`] : []),
    ...below.map(
      ({ kind, score }) => `the score of ${printable(kind)} ${score} is below --min-kind-score ${minKindScore}`,
    ),
  ];
}

/** Kinds, how many questions of each, and their mean score; all questions last. */
function table({ kinds, overall }: EvaluationResult): string {
  const rows = [...kinds, { kind: 'overall', ...overall }].map(({ kind, questions, score }) => [
    printable(kind),
    String(questions),
    score.toFixed(3),
  ]);
  const cells = [['kind', 'questions', 'score'], ...rows];
  const widths = [0, 1, 2].map((column) => cells.reduce((most, row) => Math.max(most, row[column]!.length), 0));
  const lines = cells.map(([kind, questions, score]) =>
    [kind!.padEnd(widths[0]!), questions!.padStart(widths[1]!), score!.padStart(widths[2]!)].join('  '),
  );
  return `${lines.join('\n')}\n`;
}
