import { checkOneOf } from '../base/validate.js';
import { flashVidSettings } from '../kernels/flashVid.js';
import { type FlashVidOptions, flashVid } from '../kernels/index.js';
import { tokenLengths } from './tokenLengths.js';
import { gathering, tokensOf, type VideoMethod, videoKind } from './videoMethod.js';

type Options = Omit<FlashVidOptions, 'attention' | 'clusterPicked'> & {
  readonly attention?: 'none' | 'norm';
  /** Set by a budget alone: the most tokens that may be kept. */
  readonly most?: number;
};

const method: VideoMethod<Options> = {
  name: 'flashvid',
  options: ['attention', 'alpha', 'temporalThreshold', 'segmentThreshold', 'minSegments', 'referenceCounts'],
  gathers: true,
  least: ({ frames }) => [frames, `it keeps at least one of each of ${frames} frames or steps`],
  withTokens: (video, options, tokens) => ({
    ...withShare(options, Math.floor(tokens / video.frames), video.patches),
    most: tokens,
  }),
  count(video, options) {
    checkOneOf('attention', options.attention ?? 'none', ['none', 'norm']);
    const { budget, picked } = flashVidSettings(video, options);
    const { most = tokensOf(video) } = options;
    // Clusters of a frame are rounded up.
    return picked === budget ? video.frames * budget : Math.min(most, video.frames * (budget + 1));
  },
  start: (video, { attention, most = tokensOf(video), ...options }, signal) =>
    gathering(video, async (tokens) => {
      const weights = attention === 'norm' ? { attention: await tokenLengths(tokens, signal) } : {};
      const settings = { ...options, ...weights, clusterPicked: false, ...(signal && { signal }) };
      const reduced = await flashVid(tokens, settings);
      if (reduced.indices.length <= most) return reduced;
      const { budget } = flashVidSettings(video, settings);
      return flashVid(tokens, withShare(settings, budget - 1, video.patches));
    }),
};

/** As many tokens of each frame: in the middle between two shares, so that no rounding of the ratio makes it another. */
function withShare<Given extends object>(options: Given, share: number, patches: number) {
  return { ...options, retentionRatio: (share - 0.5) / patches };
}

/**
 * FlashVID, its vision side: keeps of each frame what differs most, and merges the others over time and in clusters. Keeps at
 * most the budget: each frame has the same whole share.
 */
export const flashvid = videoKind(method);
