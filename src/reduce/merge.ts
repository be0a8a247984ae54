import type { Float32Tensor } from '../base/tensor.js';
import { checkInteger, wrongValue } from '../base/validate.js';
import { type MergedTokens, mergeSchedule, mergeTokens } from '../kernels/index.js';
import { checkSchedule } from '../kernels/mergeSchedule.js';
import { checkNoOptions } from './options.js';
import { type ReducedTokens, type Reducer, type ReducerKind, reducerId, type SegmentShape } from './reducer.js';

/** What comes of merging: the merged tokens themselves, or others that stand for them. */
type Represent = (
  merged: MergedTokens,
  tokens: Float32Tensor,
  signal: AbortSignal | undefined,
) => ReducedTokens | Promise<ReducedTokens>;

const means: Represent = ({ tokens, sizes, assignment }) => ({
  tokens: tokens as Float32Tensor,
  sizes,
  owners: assignment,
});

/** LongVLM's reducer: merges the most similar tokens, level by level. */
export const merge: ReducerKind = mergingKind('merge', means);

/** Merging by a schedule of the caller: how many tokens each level merges away. */
export function mergeBySchedule(schedule: readonly number[], heads: number): Reducer {
  const levels = checkSchedule(schedule);
  checkInteger('heads', heads, 1);
  const id = reducerId('merge', { schedule: levels.join(), heads });
  return mergeReducer({ name: 'merge', id, heads, scheduleFor: () => levels, represent: means });
}

/** A reducer that groups tokens by merging them. */
export type Merging = {
  /** Options of mergeTokens() for a segment. */
  optionsFor(segment: SegmentShape): { readonly heads: number; readonly schedule: readonly number[] };
  /** Whether it keeps of each group the token that is most like the mean, in place of the mean. */
  readonly picks: boolean;
};

// What is in here does nothing else, and so can do it where the tokens are.
const mergings = new WeakMap<Reducer, Merging>();

/** How a reducer merges, if that groups tokens: a built-in one, not one that somebody made of it. */
export function mergingOf(reducer: Reducer): Merging | undefined {
  return mergings.get(reducer);
}

/** Tells that a reducer is a copy of another one. */
export function mergesLike<R extends Reducer>(copy: R, reducer: Reducer): R {
  const merging = mergings.get(reducer);
  if (merging) mergings.set(copy, merging);
  return copy;
}

/** A kind of reducer that groups tokens by merging them. */
export function mergingKind(name: string, represent: Represent): ReducerKind {
  return {
    name,
    create: ({ tokensPerSegment, mergeHeads: heads, options }) => {
      checkNoOptions(name, options);
      const id = reducerId(name, { tokensPerSegment, mergeHeads: heads });
      const scheduleFor = (tokens: number) =>
        mergeSchedule(tokens, checkInteger('tokensPerSegment', tokensPerSegment, 1, tokens));
      return mergeReducer({ name, id, heads, scheduleFor, represent });
    },
  };
}

function mergeReducer({
  name,
  id,
  heads,
  scheduleFor,
  represent,
}: {
  readonly name: string;
  readonly id: string;
  readonly heads: number;
  readonly scheduleFor: (tokens: number) => readonly number[];
  readonly represent: Represent;
}): Reducer {
  const steps = ({ frames, patches }: { frames: number; patches: number }) => scheduleFor(frames * patches);
  const reducer: Reducer = {
    name,
    id,
    // A level merges at most half of the remaining tokens.
    count: (segment) =>
      steps(segment).reduce((left, r) => left - Math.min(r, Math.floor(left / 2)), segment.frames * segment.patches),
    check(segment) {
      steps(segment);
      const { channels } = segment;
      if (channels % heads !== 0) wrongValue('mergeHeads', `divisor of the vision tower's ${channels} channels`, heads);
    },
    async reduce(tokens, segment, signal) {
      const merged = await mergeTokens(tokens, { heads, schedule: steps(segment), ...(signal && { signal }) });
      return represent(merged, tokens, signal);
    },
  };
  const optionsFor = (segment: SegmentShape) => ({ heads, schedule: steps(segment) });
  mergings.set(reducer, { optionsFor, picks: represent !== means });
  return reducer;
}
