import type { VideoFeatures, VideoPart } from './videoFeatures.js';

/** What of a video was really used, as the command line and the service tell it. */
export function videoReport(features: VideoFeatures, part: VideoPart = 'both') {
  const { frames, fps, start, end, reduction, reductionOptions } = features.sampling;
  const { report } = features;
  return {
    frames,
    ...(fps !== undefined && { fps }),
    ...(start !== undefined && { start }),
    ...(end !== undefined && { end }),
    segments: features.segments,
    tokens: features.tokenCountOf(part),
    reduction: { name: reduction, ...(reductionOptions && { options: reductionOptions }), ...(report && { report }) },
    runs: features.runsOf(part).runs.map(({ kind, start, end, tokens }) => ({ kind, start, end, tokens })),
    duration: features.source.durationSeconds,
  };
}
