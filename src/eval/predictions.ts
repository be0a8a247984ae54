import path from 'node:path';
import { inTurns } from '../base/pace.js';
import {
  checkNumber,
  checkObject,
  checkString,
  checkStrings,
  checkText,
  isArray,
  wrongType,
} from '../base/validate.js';
import { checkReplacing, writeWholeFile } from '../base/wholeFile.js';
import type { DatasetEntry } from './dataset.js';

const writtenAtOnce = 1000;
const checkedAtOnce = 1000;

/** The answers to an entry of a data set. */
export type Prediction = {
  readonly entry: DatasetEntry;
  /** The answer to `question`, then the answer to `question2` if the entry has one. */
  readonly answers: readonly string[];
  /** From `0` to `1`; the mean of the two scores if there are two answers. */
  readonly score: number;
};

/**
 * Writes predictions in the format of Video-ChatGPT's evaluation scripts: a JSON array of objects with `video_name` (the file
 * name without its extension), `Q`, `A`, `pred`; or `video_name`, `Q1`, `Q2`, `A`, `pred1`, `pred2` for entries with two
 * questions. `kind` and `score` are added, which the scripts ignore. The file is written atomically.
 * @param file a new one, or one with predictions, which is replaced
 * @throws LongVLMError `ERR_LONGVLM_FILE` when it cannot be written, or holds something else
 */
export async function savePredictions(file: string, predictions: readonly Prediction[]): Promise<void> {
  checkString('file', file);
  if (!isArray(predictions)) wrongType('predictions', 'array', predictions);
  const rows: ReturnType<typeof toVideoChatGpt>[] = [];
  await inTurns(predictions.length, checkedAtOnce, (from, to) => {
    for (let i = from; i < to; i++) rows.push(toVideoChatGpt(`predictions[${i}]`, predictions[i]));
  });
  await checkPredictionsOutput(file);
  await writeWholeFile(file, async (handle) => {
    // As JSON.stringify() writes them all, a part at a time.
    for (let start = 0; start < rows.length; start += writtenAtOnce) {
      const some = rows.slice(start, start + writtenAtOnce);
      await handle.writeFile(`${start === 0 ? '[' : ','}${JSON.stringify(some, undefined, 2).slice(1, -2)}`);
    }
    await handle.writeFile(rows.length === 0 ? '[]\n' : '\n]\n');
  });
}

/**
 * Checks that predictions may take a file's place: there is none, it is empty, or it holds predictions.
 * @throws LongVLMError `ERR_LONGVLM_FILE`
 */
export async function checkPredictionsOutput(file: string): Promise<void> {
  await checkReplacing(file, 'predictions', 64, (bytes) =>
    /^\[\s*(\]\s*$|\{\s*"video_name":)/.test(bytes.toString('latin1')),
  );
}

function toVideoChatGpt(name: string, prediction: unknown) {
  const { entry, answers, score: given } = checkObject(name, prediction as Prediction);
  const read = checkObject(`${name}.entry`, entry);
  const video_name = path.parse(checkString(`${name}.entry.video`, read.video)).name;
  const text = (key: 'question' | 'question2' | 'answer' | 'kind') => {
    const value = read[key];
    return value === undefined ? undefined : checkText(`${name}.entry.${key}`, value);
  };
  const [question, question2, answer, kind] = [text('question'), text('question2'), text('answer'), text('kind')];
  const [pred, pred2] = checkStrings(`${name}.answers`, answers);
  const score = given === undefined ? undefined : checkNumber(`${name}.score`, given, 0);
  return question2 === undefined
    ? { video_name, Q: question, A: answer, pred, kind, score }
    : { video_name, Q1: question, Q2: question2, A: answer, pred1: pred, pred2, kind, score };
}
