import { setImmediate } from 'node:timers/promises';
import { withCallbacks } from '../base/callbacks.js';
import { isErrorOf, LongVLMError, messageOf } from '../base/errors.js';
import { hashOf } from '../base/hash.js';
import { inTurns, Pace } from '../base/pace.js';
import { PartedMap } from '../base/partedMap.js';
import type { Progress } from '../base/progress.js';
import { realPathWithin, realRoot } from '../base/root.js';
import { checkFunction, checkObject, checkSignal, checkString, wrongType } from '../base/validate.js';
import { version } from '../base/version.js';
import { FeaturesCache } from '../encode/featuresCache.js';
import { samplingIdentity } from '../encode/sampling.js';
import type { VideoFeatures } from '../encode/videoFeatures.js';
import { type AskOptions, checkAskOptions } from '../llm/answer.js';
import type { VideoChat } from '../llm/chat.js';
import { modelsIdentity } from '../load/modelsIdentity.js';
import { type ChatOptions, LongVLM } from '../longvlm.js';
import { checkDataset, type Dataset, type DatasetEntry } from './dataset.js';
import type { Prediction } from './predictions.js';
import { ResumeFile, type RunIdentity } from './resumeFile.js';
import { scoreAnswer } from './score.js';

/**
 * Progress of an evaluation: stage `evaluate`, unit `questions`. `done` counts the answered questions, including those of an
 * earlier run.
 */
export type EvaluationProgress = Progress & {
  /** The mean score of the answered questions; `0` before the first. */
  readonly score: number;
};

/**
 * Options of {@link evaluate}: its own, and those of {@link LongVLM.chat} and {@link VideoChat.ask}. `temperature` defaults to
 * `0` here, not to the model's default.
 */
export type EvaluateOptions = Omit<ChatOptions & AskOptions, 'onProgress'> & {
  /**
   * A folder that caches features of videos for later evaluations with the same tower and sampling. Files are named by a hash
   * of the video's content, the tower and the sampling. Defaults to none.
   */
  featuresFolder?: string;
  /**
   * A file that answers are appended to. If it exists, the evaluation resumes from it; data set, model and settings must be
   * the same. The file is not deleted at the end: delete it once the result is saved. Defaults to none.
   */
  resume?: string;
  /**
   * A folder that all videos must be in, for data sets of strangers: other paths, links that lead out of it and URLs are an
   * error. Defaults to none.
   */
  root?: string;
  /** Called after each answer, and once before the first. */
  onProgress?: (progress: EvaluationProgress) => void;
};

const hashedAtOnce = 1000;
const entriesAtOnce = 256;

/** The mean score of some questions. */
export type MeanScore = { readonly questions: number; readonly score: number };

/** The result of {@link evaluate}. */
export type EvaluationResult = {
  /** Scores by kind, in the order in which kinds first occur in the data set. */
  readonly kinds: readonly (MeanScore & { readonly kind: string })[];
  /** The mean over all questions: every question counts the same. */
  readonly overall: MeanScore;
  /** The answers, in the data set's order. */
  readonly predictions: readonly Prediction[];
  /** Problems of videos that could still be read, in sentences; not of videos that an earlier run finished. */
  readonly warnings: readonly string[];
};

/**
 * Asks a model the questions of a data set, each in a conversation of its own, and scores the answers with
 * {@link scoreAnswer}. A video is encoded once for all its questions. The language model also evaluates it only once, if
 * {@link VideoChat.canReset} is true.
 *
 * @throws TypeError or RangeError for a wrong option; LongVLMError `ERR_LONGVLM_CONTEXT_FULL` for a question that does not fit,
 *   before anything is computed; `ERR_LONGVLM_MISMATCH` for a `resume` file of another run, `ERR_LONGVLM_DATASET` for a
 *   damaged one, or for a video outside of `root`; `ERR_LONGVLM_VIDEO` for a video without frames between start and end; errors
 *   of {@link LongVLM.chat} and {@link VideoChat.ask}; `signal.reason`
 * @example
 * ```ts
 * const vlm = await LongVLM.load();
 * const { overall, predictions } = await evaluate(vlm, await readDataset('questions.jsonl'), { featuresFolder: 'features' });
 * await savePredictions('predictions.json', predictions);
 * ```
 */
export function evaluate(vlm: LongVLM, dataset: Dataset, options: EvaluateOptions = {}): Promise<EvaluationResult> {
  return withCallbacks(options, ['onProgress'], (guarded) => evaluateAll(vlm, dataset, guarded));
}

async function evaluateAll(vlm: LongVLM, dataset: Dataset, options: EvaluateOptions): Promise<EvaluationResult> {
  if (!(vlm instanceof LongVLM)) wrongType('vlm', 'LongVLM', vlm);
  checkObject('dataset', dataset);
  const { featuresFolder, resume, root, onProgress, signal: ended, ...given } = checkObject('options', options);
  const signal = checkSignal(ended);
  if (featuresFolder !== undefined) checkString('featuresFolder', featuresFolder);
  if (resume !== undefined) checkString('resume', resume);
  if (onProgress !== undefined) checkFunction('onProgress', onProgress);
  checkAskOptions({ ...given, signal });
  signal?.throwIfAborted();
  await checkDataset(dataset, signal);
  const { entries } = dataset;
  const videos = await byVideo(entries);
  const within = root === undefined ? undefined : await realRoot(root);
  if (within !== undefined)
    for (const { video } of videos) {
      signal?.throwIfAborted();
      await realPathWithin(within, video);
    }
  const settings = { ...given, temperature: given.temperature ?? 0 };

  await checkQuestions(vlm, entries, settings, signal);
  const cache = featuresFolder === undefined ? given.cache : await FeaturesCache.open(featuresFolder);
  const resumed =
    resume === undefined ? undefined : await ResumeFile.open(resume, await identityOf(vlm, entries, settings), entries);
  try {
    const predictions = new Array<Prediction | undefined>(entries.length).fill(undefined);
    const warnings: string[] = [];
    let done = 0;
    let sum = 0;
    const keep = (index: number, answers: readonly string[]) => {
      const prediction = predictionOf(entries[index]!, answers);
      predictions[index] = prediction;
      done++;
      sum += prediction.score;
    };
    const report = () => {
      const total = entries.length;
      onProgress?.({ stage: 'evaluate', done, total, unit: 'questions', score: sum / Math.max(1, done) });
    };
    const pace = new Pace();
    for (const [index, answers] of resumed?.answers ?? []) {
      keep(index, answers);
      if (pace.isDue) await pace.rest();
    }
    report();
    for (const { video, indices } of videos) {
      const left = indices.filter((index) => predictions[index] === undefined);
      if (left.length === 0) continue;
      // The links in between may lead elsewhere by now.
      const file = within === undefined ? video : await realPathWithin(within, video);
      const { limits, sampling } = given;
      const features = await vlm.encode(file, { cache, limits, sampling, signal }).catch((error: unknown) => {
        throw aboutVideo(video, error);
      });
      for (const warning of features.source.warnings) warnings.push(warning);
      for await (const [index, answers] of answersAbout(vlm, features, entries, left, { ...settings, signal })) {
        await resumed?.append(index, answers);
        keep(index, answers);
        report();
      }
    }
    return { ...(await summary(predictions as Prediction[])), warnings };
  } finally {
    await resumed?.close();
  }
}

/** A range without frames is wrong for this video alone: the error of the argument does not say which. */
function aboutVideo(video: string, error: unknown): unknown {
  if (!isErrorOf(error, 'RangeError') || !/ for start( and end)? but received /.test(error.message)) return error;
  return new LongVLMError(
    'ERR_LONGVLM_VIDEO',
    `${video} has no frames in the range that is asked for: ${error.message}. Leave it out of the data set, or choose another range.`,
    { cause: error },
  );
}

/** The answers to the entries at `indices`. Each question starts a new conversation. */
async function* answersAbout(
  vlm: LongVLM,
  features: VideoFeatures,
  entries: readonly DatasetEntry[],
  indices: readonly number[],
  options: ChatOptions & AskOptions,
): AsyncGenerator<readonly [number, readonly string[]], void, void> {
  let contextSize = options.contextSize ?? 0;
  const pace = new Pace();
  if (options.contextSize === undefined)
    for (const index of indices) {
      for (const question of questionsOf(entries[index]!))
        contextSize = Math.max(contextSize, vlm.requiredContextSize(features, question, options));
      if (pace.isDue) await pace.rest();
    }
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

type AboutVideo = { readonly video: string; readonly indices: number[] };

/** Indices of entries by video, in the order in which videos first occur. */
async function byVideo(entries: readonly DatasetEntry[]): Promise<readonly AboutVideo[]> {
  const videos: AboutVideo[] = [];
  const known = new PartedMap<AboutVideo>();
  await inTurns(entries.length, entriesAtOnce, (from, to) => {
    for (let index = from; index < to; index++) {
      const { video } = entries[index]!;
      const found = known.get(video);
      if (found) found.indices.push(index);
      else {
        const first = { video, indices: [index] };
        videos.push(first);
        known.set(video, first);
      }
    }
  });
  return videos;
}

/** Checks that all questions fit into the context, before the first video is encoded. */
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
  { sampling: request, cache: _, limits: __, ...settings }: Pick<ChatOptions, 'sampling' | 'cache' | 'limits'>,
): Promise<RunIdentity> {
  const { template } = vlm;
  const sampling = samplingIdentity(vlm.encoder.settle(request));
  return {
    dataset: await hashOfAll(entries),
    model: await modelsIdentity(vlm.models),
    settings: hashOf({ version, sampling, template, settings }),
  };
}

/** As {@link hashOf}, a part at a time. */
async function hashOfAll(entries: readonly DatasetEntry[]): Promise<string> {
  const hashes: string[] = [];
  for (let start = 0; start < entries.length; start += hashedAtOnce) {
    hashes.push(hashOf(entries.slice(start, start + hashedAtOnce)));
    await setImmediate();
  }
  return hashOf(hashes);
}

function predictionOf(entry: DatasetEntry, answers: readonly string[]): Prediction {
  const scores = answers.map((answer) => scoreAnswer(entry.kind, answer, entry.answer));
  return { entry, answers, score: mean(scores) };
}

async function summary(predictions: readonly Prediction[]): Promise<Omit<EvaluationResult, 'warnings'>> {
  const kinds: { readonly kind: string; questions: number; sum: number }[] = [];
  const known = new PartedMap<(typeof kinds)[number]>();
  let sum = 0;
  await inTurns(predictions.length, entriesAtOnce, (from, to) => {
    for (let i = from; i < to; i++) {
      const { entry, score } = predictions[i]!;
      let found = known.get(entry.kind);
      if (!found) {
        found = { kind: entry.kind, questions: 0, sum: 0 };
        kinds.push(found);
        known.set(entry.kind, found);
      }
      found.questions++;
      found.sum += score;
      sum += score;
    }
  });
  return {
    kinds: kinds.map((each) => ({ kind: each.kind, questions: each.questions, score: each.sum / each.questions })),
    overall: { questions: predictions.length, score: sum / Math.max(1, predictions.length) },
    predictions,
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}
