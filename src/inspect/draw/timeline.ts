// The whole video: a strip of frames, its segments below it, and a scale of times.
import type { InspectedFrame, Inspection } from '../inspection.js';
import { aspectOf, placedGrid } from './frame.js';
import { counted, ink, labelledEvery, localColor, type Scene, type Shape, textWidth, timeText } from './scene.js';

export type TimelineOptions = {
  /** In pixels. Defaults to `960`. */
  readonly width?: number;
  /** Where a segment leads to: a fragment such as `#segment-3`. Defaults to nowhere. */
  readonly href?: (segment: number) => string;
  /** A segment that is marked. */
  readonly current?: number;
};

const least = 72;
const gap = 4;
const barHeight = 26;

/** The video over time, with a frame for each stretch of it, and its segments. */
export function timelineScene(inspection: Inspection, options: TimelineOptions = {}): Scene {
  const { width = 960 } = options;
  const { segments, method, video } = inspection;
  const range = rangeOf(inspection);
  const aspect = aspectOf(placedGrid(inspection.grid));
  const count = Math.max(1, Math.min(method.frames, Math.floor((width + gap) / (least + gap))));
  const frameWidth = (width - (count - 1) * gap) / count;
  const stripHeight = Math.min(frameWidth * aspect, 160);
  const shapes: Shape[] = [
    ...strip(inspection, range, { count, frameWidth, height: stripHeight }),
    { kind: 'group', x: 0, y: stripHeight + 8, shapes: bars(inspection, range, width, options) },
    { kind: 'group', x: 0, y: stripHeight + 8 + barHeight, shapes: scale(range, width) },
  ];
  return {
    ...{ width, shapes },
    height: Math.ceil(stripHeight + 8 + barHeight + 24),
    title: `Timeline of ${video.name}`,
    description: `${counted(method.frames, 'frame')} from ${timeText(range.start, true)} to ${timeText(range.end, true)} in ${counted(segments.length, 'segment')} of ${counted(method.tokensPerSegment, 'token')} each.`,
  };
}

type Range = { readonly start: number; readonly end: number };

/** What of the video its frames are from. */
function rangeOf({ segments, method, video }: Inspection): Range {
  const start = method.start ?? Math.min(0, segments[0]?.start ?? 0);
  const end = method.end ?? Math.max(video.durationSeconds, segments.at(-1)?.end ?? 0);
  return { start, end: end > start ? end : start + 1 };
}

function strip(
  inspection: Inspection,
  { start, end }: Range,
  { count, frameWidth, height }: { readonly count: number; readonly frameWidth: number; readonly height: number },
): Shape[] {
  const frames = inspection.segments.flatMap(({ frames }) => frames);
  const shownWidth = Math.min(frameWidth, height / aspectOf(placedGrid(inspection.grid)));
  return Array.from({ length: count }, (_, slot): Shape => {
    const frame = nearest(frames, start + ((slot + 0.5) / count) * (end - start));
    const found = frames[frame];
    const x = slot * (frameWidth + gap);
    const inner = { x: x + (frameWidth - shownWidth) / 2, y: 0, width: shownWidth, height };
    const ground: Shape = { kind: 'rect', ...inner, color: ink, opacity: 0.08, radius: 2 };
    const image: Shape[] =
      found?.thumbnail === undefined ? [] : [{ kind: 'image', ...inner, href: found.thumbnail, frame }];
    const title = found === undefined ? undefined : timeText(found.time, true);
    return { kind: 'group', x: 0, y: 0, shapes: [ground, ...image], ...(title !== undefined && { title }) };
  });
}

function nearest(frames: readonly InspectedFrame[], time: number): number {
  let best = 0;
  for (const [index, frame] of frames.entries())
    if (Math.abs(frame.time - time) < Math.abs(frames[best]!.time - time)) best = index;
  return best;
}

function bars(inspection: Inspection, { start, end }: Range, width: number, options: TimelineOptions): Shape[] {
  const { segments, method } = inspection;
  const { href, current } = options;
  const at = (seconds: number) => ((Math.min(end, Math.max(start, seconds)) - start) / (end - start)) * width;
  const every = labelledEvery(segments.length, width);
  return segments.map(({ index, start: from, end: to, sizes }): Shape => {
    // The first begins where the range does, though its first frame is from the middle of a stretch.
    const left = index === 0 ? 0 : at(from);
    const right = index === segments.length - 1 ? width : at(to);
    const inner = Math.max(1, right - left - (segments.length > width / 6 ? 0 : 2));
    const long = `${method.whole ? 'the whole video' : index + 1} · ${sizes.length} tokens`;
    const text = textWidth(long, 11) + 8 <= inner ? long : index % every === 0 ? `${index + 1}` : undefined;
    const opacity = current === index ? 0.5 : index % 2 === 0 ? 0.28 : 0.18;
    const shapes: Shape[] = [
      { kind: 'rect', x: 0, y: 0, width: inner, height: barHeight - 4, color: localColor, opacity, radius: 3 },
    ];
    if (text !== undefined)
      shapes.push({ kind: 'text', x: inner / 2, y: 15, text, size: 11, anchor: 'middle', color: ink });
    return {
      ...{ kind: 'group', x: left, y: 0, shapes },
      title: `${method.whole ? 'The whole video' : `Segment ${index + 1}`}: ${timeText(from, true)} to ${timeText(to, true)}, ${counted(sizes.length, 'token')}`,
      ...(href && { href: href(index) }),
    };
  });
}

const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];

function scale({ start, end }: Range, width: number): Shape[] {
  const most = Math.max(2, Math.floor(width / 90));
  const step = steps.find((each) => (end - start) / each <= most) ?? Math.ceil((end - start) / most);
  const shapes: Shape[] = [];
  for (let tick = Math.ceil(start / step - 1e-6); tick * step <= end + 1e-6; tick++) {
    const x = ((tick * step - start) / (end - start)) * width;
    const isFirst = x < 16;
    const isLast = x > width - 16;
    const anchor = isFirst ? 'start' : isLast ? 'end' : 'middle';
    shapes.push(
      {
        kind: 'rect',
        x: Math.min(width - 1, Math.max(0, x - 0.5)),
        y: 0,
        width: 1,
        height: 5,
        color: ink,
        opacity: 0.4,
      },
      {
        kind: 'text',
        x,
        y: 18,
        text: timeText(tick * step, step < 1),
        size: 11,
        anchor,
        color: ink,
        opacity: 0.7,
      },
    );
  }
  return shapes;
}
