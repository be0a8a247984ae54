import { spanReducer } from './spans.js';

/** To compare merging with: token i is the mean of those from floor(i·P / M) up to, not including, floor((i + 1)·P / M). */
export const pool = spanReducer('pool', (index, keep, count) => [
  Math.floor((index * count) / keep),
  Math.floor(((index + 1) * count) / keep),
]);
