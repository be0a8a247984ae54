import type { Float32Tensor } from '../base/tensor.js';
import { checkInteger, wrongValue } from '../base/validate.js';
import { mergeSchedule, mergeTokens } from '../kernels/index.js';
import { checkSchedule } from '../kernels/mergeSchedule.js';
import { type Reducer, type ReducerKind, reducerId } from './reducer.js';

/** LongVLM's reducer: merges the most similar tokens, level by level. */
export const merge: ReducerKind = {
  name: 'merge',
  create: ({ tokensPerSegment, mergeHeads }) =>
    mergeReducer(reducerId('merge', { tokensPerSegment, mergeHeads }), mergeHeads, (tokens) =>
      mergeSchedule(tokens, tokensPerSegment),
    ),
};

/** Merging by a schedule of the caller: how many tokens each level merges away. */
export function mergeBySchedule(schedule: readonly number[], heads: number): Reducer {
  const levels = checkSchedule(schedule);
  checkInteger('heads', heads, 1);
  return mergeReducer(reducerId('merge', { schedule: levels.join(), heads }), heads, () => levels);
}

function mergeReducer(id: string, heads: number, scheduleFor: (tokens: number) => readonly number[]): Reducer {
  const steps = ({ frames, patches }: { frames: number; patches: number }) => scheduleFor(frames * patches);
  return {
    name: 'merge',
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
      return { tokens: merged.tokens as Float32Tensor, sizes: merged.sizes };
    },
  };
}
