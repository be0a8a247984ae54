import { type VCastOptions, vCast } from '../kernels/index.js';
import { vCastSettings } from '../kernels/vCast.js';
import { gathering, tokensOf, type VideoMethod, videoKind } from './videoMethod.js';

const method: VideoMethod<VCastOptions> = {
  name: 'vcast',
  options: ['minTokens', 'temperature', 'leftover'],
  gathers: true,
  least: ({ frames }, { minTokens = 1 }) => [
    Math.max(1, frames * minTokens),
    `minTokens keeps ${minTokens} of each of ${frames} frames or steps`,
  ],
  withTokens: (video, options, tokens) => ({ ...options, retentionRatio: tokens / tokensOf(video) }),
  count: (video, options) => vCastSettings(video, options).total,
  start: (video, options, signal) =>
    gathering(video, undefined, (tokens) => vCast(tokens, { ...options, ...(signal && { signal }) })),
  onDevice: (_, options) => (tokens, call) => vCast(tokens, { ...options, ...call }),
};

/** V-CAST: picks tokens that stand out, more of them where the video turns. Keeps exactly the budget. */
export const vcast = videoKind(method);
