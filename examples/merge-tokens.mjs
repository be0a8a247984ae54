// Merges your own tokens: one segment of 2,560 patches to 30, and one ToMe step with its inverse.
//
//   node examples/merge-tokens.mjs
import { bipartiteSoftMatching, mergeTokens } from 'longvlm/kernels';

const tokens = { type: 'float32', data: Float32Array.from({ length: 2560 * 64 }, Math.random), dims: [2560, 64] };
const merged = await mergeTokens(tokens, { heads: 4, keep: 30 });
console.log('merged', merged.tokens.dims, 'patches in the largest token', Math.max(...merged.sizes.data));

const metric = { ...tokens, dims: [1, 2560, 64] };
const matching = await bipartiteSoftMatching(metric, 1000);
const fewer = await matching.merge(metric);
const back = await matching.unmerge(fewer);
console.log('one step', fewer.dims, 'and back', back.dims);
