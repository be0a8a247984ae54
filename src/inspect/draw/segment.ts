// A segment: its frames with their tokens, and how many patches each token stands for.
import type { Inspection } from '../inspection.js';
import { aspectOf, type FrameOptions, frameScene, isShort, type SegmentView, viewOf } from './frame.js';
import { counted, ink, type Scene, type Shape, textWidth, timeText, tokenColor, withCommas, wrapped } from './scene.js';

export type SegmentOptions = Omit<FrameOptions, 'width'> & {
  /** In pixels. Defaults to `960`. */
  readonly width?: number;
  /** At least so wide is a frame. Defaults to `150`. */
  readonly frameWidth?: number;
  /** At most so many frames, evenly chosen. Defaults to `40`. */
  readonly frames?: number;
};

const gap = 8;
const captionHeight = 18;

/** A segment's frames in rows, with the time below each, then its tokens by size. */
export function segmentScene(inspection: Inspection, index: number, options: SegmentOptions = {}): Scene {
  const { width = 960, frameWidth = 150, frames: most = 40, ...frameOptions } = options;
  const view = viewOf(inspection, index);
  const { segment } = view;
  const shown = evenly(segment.frames.length, most);
  const columns = Math.max(1, Math.min(shown.length, Math.floor((width + gap) / (frameWidth + gap))));
  const cell = Math.min(1.6 * frameWidth, (width - (columns - 1) * gap) / columns);
  const rowHeight = Math.round(cell * aspectOf(view.grid)) + captionHeight + gap;
  const tenths = isShort(inspection);
  const shapes = shown.map((frame, at): Shape => {
    const scene = frameScene(inspection, view, frame, { ...frameOptions, width: cell });
    const caption: Shape = {
      ...{ kind: 'text', x: 0, y: scene.height + 13, size: 11, color: ink, opacity: 0.75 },
      text: timeText(segment.frames[frame]!.time, tenths),
    };
    const [x, y] = [(at % columns) * (cell + gap), Math.floor(at / columns) * rowHeight];
    return { kind: 'group', x, y, shapes: [...scene.shapes, caption], title: `${scene.title}. ${scene.description}` };
  });
  const sizesY = Math.ceil(shown.length / columns) * rowHeight + 4;
  const sizes = sizesScene(view, width);
  shapes.push({ kind: 'group', x: 0, y: sizesY, shapes: sizes.shapes });
  return {
    ...{ width, shapes },
    height: sizesY + sizes.height,
    title: titleOf(inspection, index),
    description: `${counted(shown.length, 'frame')}${shown.length < segment.frames.length ? ` of ${segment.frames.length}` : ''}. ${sizes.description}`,
  };
}

/** `Segment 3, 0:20 to 0:30`. */
export function titleOf(inspection: Inspection, index: number): string {
  const { start, end } = inspection.segments[index]!;
  const tenths = isShort(inspection);
  const name = inspection.method.whole ? 'The whole video' : `Segment ${index + 1}`;
  return `${name}, ${timeText(start, tenths)} to ${timeText(end, tenths)}`;
}

/** Indices of at most `most` of `count` things, the first and the last among them. */
export function evenly(count: number, most: number): number[] {
  if (count <= most) return Array.from({ length: count }, (_, index) => index);
  if (most <= 1) return [0];
  return Array.from({ length: most }, (_, at) => Math.round((at * (count - 1)) / (most - 1)));
}

const barHeight = 22;

/** A bar with a part for each token, as wide as it has patches, the largest first. */
export function sizesScene({ segment }: SegmentView, width = 960): Scene {
  const { sizes } = segment;
  const order = Array.from(sizes.keys()).sort((a, b) => sizes[b]! - sizes[a]! || a - b);
  const all = Math.max(
    1,
    sizes.reduce((sum, size) => sum + size, 0),
  );
  const shapes: Shape[] = [];
  let x = 0;
  for (const token of order) {
    const size = sizes[token]!;
    const wide = (size / all) * width;
    const inner = Math.max(0.4, wide - (wide > 4 ? 1 : wide * 0.2));
    const color = size > 1 ? tokenColor(token) : ink;
    const bar: Shape[] = [
      {
        kind: 'rects',
        rects: [{ x: 0, y: 0, width: inner, height: barHeight }],
        color,
        opacity: size > 1 ? 0.8 : 0.3,
        token,
      },
    ];
    const text = withCommas(size);
    if (textWidth(text, 11) + 4 <= inner)
      bar.push({ kind: 'text', x: inner / 2, y: 15, text, size: 11, anchor: 'middle', color: ink });
    shapes.push({
      kind: 'group',
      x,
      y: 0,
      shapes: bar,
      title: `Token ${token + 1}: ${counted(size, 'patch', 'patches')}`,
    });
    x += wide;
  }
  const description = sizesText(sizes);
  const lines = wrapped(description, 12, width);
  for (const [line, text] of lines.entries())
    shapes.push({ kind: 'text', x: 0, y: barHeight + 16 + line * 18, text, size: 12, color: ink, opacity: 0.75 });
  return { width, height: barHeight + 6 + lines.length * 18, title: 'Patches in each token', description, shapes };
}

/** How patches are shared out among tokens, in a sentence. */
export function sizesText(sizes: readonly number[]): string {
  const all = sizes.reduce((sum, size) => sum + size, 0);
  const alone = sizes.filter((size) => size === 1).length;
  const largest = sizes.reduce((most, size) => Math.max(most, size), 0);
  const begin = `${counted(sizes.length, 'token')} for ${counted(all, 'patch', 'patches')}`;
  if (largest <= 1) return `${begin}, each as it was.`;
  const kept = alone === 0 ? '' : `, ${withCommas(alone)} of them for one that is as it was`;
  return `${begin}${kept}; the largest stands for ${withCommas(largest)}.`;
}
