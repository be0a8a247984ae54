// Evaluates a first turn up to the question: text, and the video's embeddings run by run.
import type { LlamaContextSequence } from 'node-llama-cpp';
import { raceAbort } from '../base/abort.js';
import { LongVLMError } from '../base/errors.js';
import type { Tensor } from '../base/tensor.js';
import type { RunPlaces, VideoRuns } from '../base/videoRun.js';
import { evaluateEmbeddings } from './embeddings.js';
import type { LanguageModel } from './model.js';
import type { FirstTurn } from './prompt.js';

/** What a chat evaluates before its first question. */
export type VideoPrompt = {
  readonly turn: FirstTurn;
  /** [tokens, width]. */
  readonly embeddings: Tensor;
  readonly runs: VideoRuns;
  /** Among the tokens of a run. */
  readonly attention: 'causal' | 'full';
};

/**
 * @param onStep is given each step of llama.cpp, which goes on after an abort
 * @throws LongVLMError as {@link evaluateEmbeddings}; `signal.reason`
 */
export async function evaluateVideo(
  model: LanguageModel,
  sequence: LlamaContextSequence,
  { turn, embeddings, runs, attention }: VideoPrompt,
  { signal, onStep }: { signal: AbortSignal | undefined; onStep: (step: Promise<unknown>) => void },
): Promise<void> {
  const placeholder = model.specialToken('<vid_patch>');
  const options = { attention, ...(placeholder !== undefined && { placeholder }), ...(signal && { signal }) };
  const wait = async (step: Promise<unknown>) => {
    onStep(step);
    await raceAbort(step, signal);
  };
  for (const part of [{ text: turn.before }, ...turn.video]) {
    if ('text' in part) {
      if (part.text.length > 0) await wait(sequence.evaluateWithoutGeneratingNewTokens(part.text));
      continue;
    }
    const pieces = model.axes > 1 || attention === 'full' ? placed(runs, part) : [{ ...part, at: undefined }];
    const block = model.axes > 1 ? blockOf(pieces, runs.positionsPerSecond) : undefined;
    if (block) await evaluateEmbeddings(sequence, rowsOf(embeddings, part.from, part.to), { ...options, ...block });
    else
      for (const { from, to, at } of pieces)
        await evaluateEmbeddings(sequence, rowsOf(embeddings, from, to), {
          ...options,
          ...(at && model.axes > 1 && positionsOf(at)),
        });
  }
}

/**
 * Checks that the tokens of a video can be placed, where the language model places each by time, row and column.
 * @throws LongVLMError `ERR_LONGVLM_MISMATCH`
 */
export function checkPlaces({ path, axes }: LanguageModel, { runs }: VideoRuns): void {
  if (axes === 1 || runs.every(({ at }) => at !== undefined)) return;
  throw new LongVLMError(
    'ERR_LONGVLM_MISMATCH',
    `The language model ${path} places each token of a video by time, row and column, and those of this one have no places: they are means over several, or from a release that did not keep places. Encode it again with the reduction pick, or with all tokens.`,
  );
}

function rowsOf({ type, data, dims }: Tensor, from: number, to: number): Tensor {
  const width = dims[1]!;
  return { type, data: data.subarray(from * width, to * width), dims: [to - from, width] };
}

type Rows = { readonly from: number; readonly to: number };

/** Rows of a run, where its tokens were in its frame, and when that was, in seconds. */
type Piece = Rows & { readonly at: RunPlaces | undefined; readonly start?: number };

/** The most tokens of a video that attend to each other: those of a run, or those behind the last. */
export function largestRun(runs: VideoRuns, count: number): number {
  return Math.max(...placed(runs, { from: 0, to: count }).map(({ from, to }) => to - from));
}

/** The runs that rows are of. */
function placed({ runs }: VideoRuns, { from, to }: Rows): Piece[] {
  let end = 0;
  const found = runs.map(({ tokens, at, start }) => {
    end += tokens;
    return { from: end - tokens, to: end, at, start };
  });
  const rest = { from: Math.max(end, from), to, at: undefined };
  const within = found.filter((run) => run.from >= from && run.to <= to);
  return rest.to > rest.from ? [...within, rest] : within;
}

type Positions = { readonly positions: Int32Array; readonly span: number };

// Times are known to a millisecond.
const tolerance = 0.01;

/**
 * Positions of the tokens of several runs together, in which time passes; undefined where each run has its own. Runs whose time
 * is less than a position apart are one position apart, as llama.cpp tells what comes before a token by its place.
 *
 * What comes next begins behind the largest of all positions, as Qwen2.5-VL was trained.
 * Source: `get_rope_index` of transformers' Qwen2.5-VL before version 5, which in that has text begin earlier.
 */
function blockOf(pieces: readonly Piece[], positionsPerSecond: number | undefined): Positions | undefined {
  if (positionsPerSecond === undefined || pieces.length === 0 || !pieces.every(({ at }) => at !== undefined))
    return undefined;
  const positions: number[] = [];
  let [time, largest] = [-1, 0];
  for (const { at, start } of pieces) {
    const { rows, columns, places } = at!;
    time = Math.max(time + 1, Math.floor((start! - pieces[0]!.start!) * positionsPerSecond + tolerance));
    largest = Math.max(largest, time, rows - 1, columns - 1);
    for (const place of places) positions.push(time, Math.floor(place / columns), place % columns);
  }
  return { positions: Int32Array.from(positions), span: largest + 1 };
}

/** How many positions runs take that no text separates; undefined where each run has its own. */
export function spanOfBlock(runs: VideoRuns): number | undefined {
  const to = runs.runs.reduce((sum, { tokens }) => sum + tokens, 0);
  return blockOf(placed(runs, { from: 0, to }), runs.positionsPerSecond)?.span;
}

/**
 * Positions of a run's tokens from where it begins: time, row and column. Whatever comes next begins behind the longer side of
 * the whole frame, also where tokens of it were left out.
 * Source: `get_rope_index` of transformers' Qwen3-VL.
 */
export function positionsOf({ rows, columns, places }: RunPlaces): Positions {
  const positions = new Int32Array(places.length * 3);
  for (const [token, place] of places.entries())
    positions.set([0, Math.floor(place / columns), place % columns], token * 3);
  return { positions, span: Math.max(rows, columns) };
}
