// The places that embeddings take in a sequence. Where a model has several positions for each token, a run of embeddings may take
// more cells of the context than positions, or fewer. node-llama-cpp numbers later tokens by its count of tokens, which is kept
// equal to the positions: so they are right, also after the end of the sequence is erased, or its state is saved and loaded.
import { types } from 'node:util';
import type { LlamaContextSequence } from 'node-llama-cpp';
import { checkInteger, wrongType, wrongValue } from '../base/validate.js';

/** Where embeddings lie, from where they begin. */
export type Places = {
  /** [tokens, 3] in time, height and width; undefined: one after another. */
  readonly positions: Int32Array | undefined;
  /** From where the embeddings begin to the next token. */
  readonly span: number;
};

const axes = 3;
const mostPositions = 2 ** 30;

/**
 * The places of `count` embeddings, copied.
 * @throws TypeError or RangeError for positions that are not three for each embedding, or not in ascending order, or not within
 *   `span`
 */
export function readPlaces(options: { positions?: Int32Array; span?: number }, count: number): Places {
  const { positions: given, span: wanted } = options;
  if (given === undefined) {
    if (wanted !== undefined) wrongValue('span', 'positions beside it', wanted);
    return { positions: undefined, span: count };
  }
  if (!types.isInt32Array(given)) wrongType('positions', 'Int32Array', given);
  if (given.length !== count * axes)
    wrongValue('positions', `${count * axes} values, three for each of ${count} embeddings,`, given.length);
  const positions = new Int32Array(given);
  const largest = checkOrder(positions);
  return {
    positions,
    span: wanted === undefined ? largest + 1 : checkInteger('span', wanted, largest + 1, mostPositions),
  };
}

/** llama.cpp sees to what precedes a token by its place, not by its turn. @returns the largest position */
function checkOrder(positions: Int32Array): number {
  let largest = -1;
  for (let at = 0; at < positions.length; at += axes) {
    const [t, y, x] = positions.subarray(at, at + axes) as unknown as [number, number, number];
    if (Math.min(t, y, x) < 0 || Math.max(t, y, x) >= mostPositions)
      wrongValue(`positions[${at / axes}]`, `places from 0 to ${mostPositions - 1}`, [t, y, x].join(', '));
    largest = Math.max(largest, t, y, x);
    if (at === 0) continue;
    const [t0, y0, x0] = positions.subarray(at - axes, at) as unknown as [number, number, number];
    if ((t - t0 || y - y0 || x - x0) <= 0)
      wrongValue(`positions[${at / axes}]`, `a place after ${[t0, y0, x0].join(', ')}`, [t, y, x].join(', '));
  }
  return largest;
}

type Run = { readonly start: number; readonly span: number; readonly count: number };

const runs = new WeakMap<LlamaContextSequence, Run[]>();

/** Remembers evaluated embeddings, for {@link usedPlaces}. */
export function noteRun(sequence: LlamaContextSequence, run: Run): void {
  const before = (runs.get(sequence) ?? []).filter(({ start, span }) => start + span <= run.start);
  runs.set(sequence, [...before, run]);
}

/** How much of its context a sequence has used, in cells or in positions, whichever are more. */
export function usedPlaces(sequence: LlamaContextSequence): number {
  const { nextTokenIndex } = sequence;
  let surplus = 0;
  for (const { start, span, count } of runs.get(sequence) ?? [])
    if (start + span <= nextTokenIndex) surplus += count - span;
  return nextTokenIndex + Math.max(0, surplus);
}
