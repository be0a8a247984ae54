import { fitsProducts } from '../kernels/deviceReduction.js';
import { flashVidSettings } from '../kernels/flashVid.js';
import { type FlashVidOptions, flashVid } from '../kernels/index.js';
import { tokenLengths, tokenLengthsOnDevice } from './tokenLengths.js';
import { gathering, type VideoMethod, videoKind } from './videoMethod.js';

type Options = Omit<FlashVidOptions, 'attention' | 'clusterPicked'>;

const places = { clusterPicked: false, exactBudget: true } as const;

const method: VideoMethod<Options> = {
  name: 'flashvid',
  options: ['alpha', 'temporalThreshold', 'segmentThreshold', 'minSegments', 'referenceCounts'],
  withoutAttention: 'div',
  gathers: true,
  least: ({ frames }) => [frames, `it keeps at least one of each of ${frames} frames or steps`],
  // In the middle between two shares, so that no rounding of the ratio makes it another.
  withTokens: ({ frames, patches }, options, tokens) => ({
    ...options,
    retentionRatio: (Math.floor(tokens / frames) - 0.5) / patches,
  }),
  count: (video, options) => video.frames * flashVidSettings(video, options).budget,
  start: (video, options, signal, source) =>
    gathering(video, source, async (tokens, given) => {
      const attention = given ?? (source === 'norm' ? await tokenLengths(tokens, signal) : undefined);
      return flashVid(tokens, { ...options, ...(attention && { attention }), ...places, ...(signal && { signal }) });
    }),
  // What follows PyTorch on a CPU is for the host.
  onDevice: ({ patches }, options, source) =>
    options.referenceCounts || !fitsProducts(patches)
      ? undefined
      : async (tokens, call) => {
          const lengths = source === 'norm' && (await tokenLengthsOnDevice(tokens, call.signal));
          return flashVid(tokens, { ...options, ...places, ...call, ...(lengths && { attention: lengths }) });
        },
};

/**
 * FlashVID, its vision side: keeps of each frame what differs most, times the attention that it gets where the tower gives any, and
 * merges the others over time and in clusters. Keeps at most the budget: each frame has the same whole share, on the average of
 * its segment.
 */
export const flashvid = videoKind(method);
