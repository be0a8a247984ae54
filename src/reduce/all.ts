import { float32Tensor } from '../base/tensor.js';
import { checkNoOptions } from './options.js';
import { type ReducerKind, reducerId } from './reducer.js';

/** Reduces nothing: every token is kept, in its place. */
export const all: ReducerKind = {
  name: 'all',
  create: ({ options }) => {
    checkNoOptions('all', options);
    return {
      name: 'all',
      id: reducerId('all', {}),
      count: ({ frames, patches }) => frames * patches,
      check: () => {},
      reduce: async (tokens) => {
        const count = tokens.dims[0]!;
        return { tokens, sizes: float32Tensor(new Float32Array(count).fill(1), [count]) };
      },
    };
  },
};
