import { spanReducer } from './spans.js';

/** A baseline for merging: token i is the input token floor((i + 0.5)·P / M), unchanged; the others are dropped. */
export const subsample = spanReducer('subsample', (index, keep, count) => {
  const picked = Math.floor(((2 * index + 1) * count) / (2 * keep));
  return [picked, picked + 1];
});
