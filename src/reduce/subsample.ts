import { spanReducer } from './spans.js';

/** To compare merging with: token i is token floor((i + 0.5)·P / M) as it is; the others are dropped. */
export const subsample = spanReducer('subsample', (index, keep, count) => {
  const picked = Math.floor(((2 * index + 1) * count) / (2 * keep));
  return [picked, picked + 1];
});
