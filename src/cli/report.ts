// Reports of the settings that were actually used, as text and as JSON.
import { escaped } from '../base/printable.js';
import type { VideoFeatures, VideoPart } from '../encode/videoFeatures.js';
import { videoReport } from '../encode/videoReport.js';
import type { LongVLM } from '../longvlm.js';

/** The `devices` object of `--json`: the devices that were actually used; the tower's only if the tower ran. */
export function devicesOf({ models }: LongVLM, vision: string | undefined) {
  const { projector, llm } = models;
  return { vision, projector: projector?.device, llm: llm?.device, gpuLayers: llm?.gpuLayers };
}

/** One line for each warning about a file. */
export function warningLines({ warnings }: { readonly warnings: readonly string[] }): string {
  return warnings.map((warning) => `warning: ${escaped(warning)}\n`).join('');
}

/** Frames, segments and tokens of a video, in one line. */
export function videoLine(features: VideoFeatures, part: VideoPart = 'both'): string {
  const { frames, segments, tokens, duration, start, end } = videoReport(features, part);
  const range = start !== undefined && end !== undefined ? `${start.toFixed(1)} to ${end.toFixed(1)} s of ` : '';
  const used = frames > features.source.frameCount ? ` (the video has only ${features.source.frameCount})` : '';
  return `${frames} frames${used} of ${range}${duration.toFixed(1)} s in ${segments} ${segments === 1 ? 'segment' : 'segments'}, ${tokens} tokens`;
}
