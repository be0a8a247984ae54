// Drawings of inspections as SVG: nothing in this folder needs Node, so that pages draw as the command line does.
import type { Inspection } from '../inspection.js';
import { type FrameOptions, frameScene, viewOf } from './frame.js';
import { promptScene } from './prompt.js';
import { type ReportOptions, reportScene } from './report.js';
import { type SegmentOptions, segmentScene, sizesScene } from './segment.js';
import { toSvg } from './svg.js';
import { type TimelineOptions, timelineScene } from './timeline.js';

export { countsOf, type FrameCounts, type FrameOptions, type SegmentView, viewOf } from './frame.js';
export { kindsOf, type Stretch, stretchesOf, summaryOf } from './prompt.js';
export { factsOf, type ReportOptions } from './report.js';
export { timeText, tokenColor } from './scene.js';
export { type SegmentOptions, sizesText, titleOf } from './segment.js';
export { escapeMarkup } from './svg.js';
export type { TimelineOptions } from './timeline.js';

/** What all drawings take: `id`, unique on the page, by which their title and description are found. */
type Named = { readonly id?: string };

/** The whole video: a strip of frames, its segments, and a scale of times. */
export function drawTimeline(inspection: Inspection, options: TimelineOptions & Named = {}): string {
  return toSvg(timelineScene(inspection, options), options);
}

/** What the language model is given, in order: text, global tokens, local tokens of each segment. */
export function drawPrompt(inspection: Inspection, options: { readonly width?: number } & Named = {}): string {
  return toSvg(promptScene(inspection, options), options);
}

/**
 * A segment: its frames with the patches of each token in one colour, and the tokens by size.
 * @throws RangeError where there is no such segment
 */
export function drawSegment(inspection: Inspection, segment: number, options: SegmentOptions & Named = {}): string {
  return toSvg(segmentScene(inspection, segment, options), options);
}

/**
 * One frame of a segment, with the patches of each token in one colour.
 * @throws RangeError where there is no such segment
 */
export function drawFrame(
  inspection: Inspection,
  segment: number,
  frame: number,
  options: FrameOptions & Named = {},
): string {
  return toSvg(frameScene(inspection, viewOf(inspection, segment), frame, options), options);
}

/**
 * The tokens of a segment, each as wide as it has patches, the largest first.
 * @throws RangeError where there is no such segment
 */
export function drawSizes(
  inspection: Inspection,
  segment: number,
  options: { readonly width?: number } & Named = {},
): string {
  return toSvg(sizesScene(viewOf(inspection, segment), options.width), options);
}

/** All of it in one picture: a file of its own with `standalone`. */
export function drawReport(
  inspection: Inspection,
  options: ReportOptions & Named & { readonly standalone?: boolean } = {},
): string {
  return toSvg(reportScene(inspection, options), options);
}
