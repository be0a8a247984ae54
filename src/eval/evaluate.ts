import { setImmediate } from 'node:timers/promises';
import { LongVLMError, messageOf } from '../base/errors.js';
import { hashOf } from '../base/hash.js';
import type { Progress } from '../base/progress.js';
import { checkFunction, checkObject, checkString, wrongType } from '../base/validate.js';
import { version } from '../base/version.js';
import { FeaturesCache } from '../encode/featuresCache.js';
import { samplingIdentity } from '../encode/sampling.js';
import type { VideoFeatures } from '../encode/videoFeatures.js';
import { weightsFingerprint } from '../files/fileFingerprint.js';
import { type AskOptions, checkAskOptions } from '../llm/answer.js';
import type { VideoChat } from '../llm/chat.js';
import { type ChatOptions, LongVLM } from '../longvlm.js';
import { checkDataset, type Dataset, type DatasetEntry } from './dataset.js';
import type { Prediction } from './predictions.js';
import { ResumeFile, type RunIdentity } from './resumeFile.js';
import { scoreAnswer } from './score.js';

/**
 * How far an evaluation has come: stage `evaluate`, unit `questions`, of which `done` are answered, with those of an earlier
 * run.
 */
export type EvaluationProgress = Progress & {
  /** The mean score of the questions that are answered; `0` before there are any. */
  readonly score: number;
};

/**
 * Options of {@link evaluate}: beside its own, those of {@link LongVLM.chat} and {@link VideoChat.ask}. `temperature` defaults
 * to `0` here, whatever the model's own is.
 */
export type EvaluateOptions = Omit<ChatOptions & AskOptions, 'onProgress'> & {
  /**
   * A folder where features of videos are kept, and found again by a later evaluation with the same tower and sampling. A
   * file's name comes from a hash of the video's content, the tower and the sampling. None by default.
   */
  featuresFolder?: string;
  /**
   * A file where answers are kept as they come. If it is there, the evaluation goes on from it; it has to be of the same data
   * set, model and settings. It stays when all is done: delete it once the result is safe. None by default.
   */
  resume?: string;
  /** Called after each answer, and once before the first. */
  onProgress?: (progress: EvaluationProgress) => void;
};

/** The mean score of some questions. */
export type MeanScore = { readonly questions: number; readonly score: number };

/** What {@link evaluate} finds. */
export type EvaluationResult = {
  /** By kind, in the order in which kinds first come in the data set. */
  readonly kinds: readonly (MeanScore & { readonly kind: string })[];
  /** The mean over all questions: a kind counts as often as it is asked. */
  readonly overall: MeanScore;
  /** In the data set's order. */
  readonly predictions: readonly Prediction[];
  /** What is wrong with videos that could be read all the same, in sentences; not of those that an earlier run answered. */
  readonly warnings: readonly string[];
};

/**
 * Asks a model the questions of a data set, each in a conversation of its own, and scores the answers with
 * {@link scoreAnswer}. A video is encoded once for all its questions, and evaluated once by the language model where that can
 * forget ({@link VideoChat.canReset}).
 *
 * @throws TypeError or RangeError for a wrong option; LongVLMError `ERR_LONGVLM_CONTEXT_FULL`, before anything is computed, for
 *   a question that does not fit; `ERR_LONGVLM_MISMATCH` or `ERR_LONGVLM_DATASET` for a `resume` file of another run, or a
 *   damaged one; what {@link LongVLM.chat} and {@link VideoChat.ask} throw; `signal.reason`
 * @example
 * ```ts
 * const vlm = await LongVLM.load();
 * const { overall, predictions } = await evaluate(vlm, await readDataset('questions.jsonl'), { featuresFolder: 'features' });
 * await savePredictions('predictions.json', predictions);
 * ```
 */
export async function evaluate(
  vlm: LongVLM,
  dataset: Dataset,
  options: EvaluateOptions = {},
): Promise<EvaluationResult> {
  if (!(vlm instanceof LongVLM)) wrongType('vlm', 'LongVLM', vlm);
  checkDataset(dataset);
  const { featuresFolder, resume, onProgress, signal, ...given } = checkObject('options', options);
  if (featuresFolder !== undefined) checkString('featuresFolder', featuresFolder);
  if (resume !== undefined) checkString('resume', resume);
  if (onProgress !== undefined) checkFunction('onProgress', onProgress);
  checkAskOptions({ ...given, signal });
  signal?.throwIfAborted();
  const { entries } = dataset;
  const settings = { ...given, temperature: given.temperature ?? 0 };

  await checkQuestions(vlm, entries, settings, signal);
  const cache = featuresFolder === undefined ? given.cache : await FeaturesCache.open(featuresFolder);
  const resumed =
    resume === undefined ? undefined : await ResumeFile.open(resume, await identityOf(vlm, entries, settings), entries);
  try {
    const predictions = new Map<number, Prediction>();
    const warnings: string[] = [];
    let sum = 0;
    const keep = (index: number, answers: readonly string[]) => {
      const prediction = predictionOf(entries[index]!, answers);
      predictions.set(index, prediction);
      sum += prediction.score;
    };
    const report = () => {
      const { size: done } = predictions;
      const total = entries.length;
      onProgress?.({ stage: 'evaluate', done, total, unit: 'questions', score: sum / Math.max(1, done) });
    };
    for (const [index, answers] of resumed?.answers ?? []) keep(index, answers);
    report();
    for (const [video, indices] of byVideo(entries)) {
      const left = indices.filter((index) => !predictions.has(index));
      if (left.length === 0) continue;
      const features = await vlm.encode(video, { cache, sampling: given.sampling, signal });
      warnings.push(...features.source.warnings);
      for await (const [index, answers] of answersAbout(vlm, features, entries, left, { ...settings, signal })) {
        await resumed?.append(index, answers);
        keep(index, answers);
        report();
      }
    }
    return { ...summary(entries.map((_, index) => predictions.get(index)!)), warnings };
  } finally {
    await resumed?.close();
  }
}

/** The answers to the entries at `indices`, each question being the first of a conversation. */
async function* answersAbout(
  vlm: LongVLM,
  features: VideoFeatures,
  entries: readonly DatasetEntry[],
  indices: readonly number[],
  options: ChatOptions & AskOptions,
): AsyncGenerator<readonly [number, readonly string[]], void, void> {
  const sizes = indices
    .flatMap((index) => questionsOf(entries[index]!))
    .map((question) => vlm.requiredContextSize(features, question, options));
  const contextSize = options.contextSize ?? sizes.reduce((most, size) => Math.max(most, size));
  let chat: VideoChat | undefined;
  try {
    for (const index of indices) {
      const answers: string[] = [];
      for (const question of questionsOf(entries[index]!)) {
        if (chat?.canReset) await chat.reset();
        else {
          await chat?.dispose();
          chat = await vlm.chat(features, { ...options, contextSize });
        }
        answers.push((await chat.ask(question, options)).trim());
      }
      yield [index, answers];
    }
  } finally {
    await chat?.dispose();
  }
}

function questionsOf({ question, question2 }: DatasetEntry): string[] {
  return question2 === undefined ? [question] : [question, question2];
}

/** Indices of entries, by video, in the order in which videos first come. */
function byVideo(entries: readonly DatasetEntry[]): Map<string, number[]> {
  const videos = new Map<string, number[]>();
  for (const [index, { video }] of entries.entries()) {
    const indices = videos.get(video) ?? [];
    indices.push(index);
    videos.set(video, indices);
  }
  return videos;
}

/** A question that is too long is found before the first video is encoded. */
async function checkQuestions(
  vlm: LongVLM,
  entries: readonly DatasetEntry[],
  settings: Pick<ChatOptions, 'part' | 'sampling' | 'template' | 'system' | 'contextSize'>,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const entry of entries) {
    await setImmediate();
    signal?.throwIfAborted();
    for (const question of questionsOf(entry))
      try {
        vlm.checkQuestion(question, settings);
      } catch (error) {
        if (!(error instanceof LongVLMError)) throw error;
        throw new LongVLMError(error.code, `A question about ${entry.video}: ${messageOf(error)}`, { cause: error });
      }
  }
}

async function identityOf(
  vlm: LongVLM,
  entries: readonly DatasetEntry[],
  { sampling: request, ...settings }: Pick<ChatOptions, 'sampling'>,
): Promise<RunIdentity> {
  const { projector, llm } = vlm.models;
  const { template } = vlm;
  const sampling = samplingIdentity(vlm.encoder.settle(request));
  return {
    dataset: hashOf(entries),
    model: hashOf([vlm.tower, projector?.identity, llm && (await weightsFingerprint(llm.path))]),
    settings: hashOf({ version, sampling, template, settings }),
  };
}

function predictionOf(entry: DatasetEntry, answers: readonly string[]): Prediction {
  const scores = answers.map((answer) => scoreAnswer(entry.kind, answer, entry.answer));
  return { entry, answers, score: mean(scores) };
}

function summary(predictions: readonly Prediction[]): Omit<EvaluationResult, 'warnings'> {
  const kinds = [...new Set(predictions.map(({ entry }) => entry.kind))].map((kind) => ({
    kind,
    ...meanScore(predictions.filter(({ entry }) => entry.kind === kind)),
  }));
  return { kinds, overall: meanScore(predictions), predictions };
}

function meanScore(predictions: readonly Prediction[]): MeanScore {
  return { questions: predictions.length, score: mean(predictions.map(({ score }) => score)) };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}
