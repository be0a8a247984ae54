import { spanReducer } from './spans.js';

/** A baseline for merging: token i is the mean of the tokens [floor(i·P / M), floor((i + 1)·P / M)). */
export const pool = spanReducer('pool', (index, keep, count) => [
  Math.floor((index * count) / keep),
  Math.floor(((index + 1) * count) / keep),
]);
