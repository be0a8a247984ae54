import { fitsProducts } from '../kernels/deviceReduction.js';
import { fastVidSettings } from '../kernels/fastVid.js';
import { type FastVidOptions, fastVid } from '../kernels/index.js';
import { tokenLengths, tokenLengthsOnDevice } from './tokenLengths.js';
import { gathering, type VideoMethod, videoKind } from './videoMethod.js';

type Options = Omit<FastVidOptions, 'attention' | 'frameFeatures'>;

const method: VideoMethod<Options> = {
  name: 'fastvid',
  options: ['segments', 'threshold', 'contextRatio', 'anchorStep', 'beta'],
  withoutAttention: 'norm',
  gathers: true,
  least: ({ frames }) => [frames, `it keeps at least one of each of ${frames} frames or steps`],
  // In the middle between two shares, so that no rounding of the ratio makes it another.
  withTokens: ({ frames, patches }, options, tokens) => ({
    ...options,
    retentionRatio: Math.min(1, (Math.floor(tokens / frames) + 0.5) / patches),
  }),
  count: (video, options) => video.frames * fastVidSettings(video, options).kept,
  start: (video, options, signal, source) =>
    gathering(video, source, async (tokens, given) => {
      const attention = given ?? (await tokenLengths(tokens, signal));
      return fastVid(tokens, { ...options, attention, ...(signal && { signal }) });
    }),
  onDevice: ({ patches }, options) =>
    fitsProducts(patches)
      ? async (tokens, { attention, ...call }) => {
          const ranks = attention ?? (await tokenLengthsOnDevice(tokens, call.signal));
          return fastVid(tokens, { ...options, attention: ranks, ...call });
        }
      : undefined,
};

/**
 * FastVID: keeps the tokens of each frame with the most attention, or the longest where the tower gives none, and merges the
 * others into density peaks. Keeps at most the budget: each frame has the same whole share.
 */
export const fastvid = videoKind(method);
