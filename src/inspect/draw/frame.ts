// A frame with the patches of each token in its colour.
import type { InspectedGrid, InspectedSegment, Inspection, Owners } from '../inspection.js';
import { readOwners } from '../inspection.js';
import {
  black,
  counted,
  ink,
  type Rect,
  type Scene,
  type Shape,
  textWidth,
  timeText,
  tokenColor,
  white,
} from './scene.js';

/** A segment's owners, read once for all of its frames. */
export type SegmentView = {
  readonly segment: InspectedSegment;
  /** Number of its first frame among all. */
  readonly firstFrame: number;
  readonly grid: InspectedGrid | undefined;
  readonly owners: Int32Array | undefined;
};

/** The segment of that index. @throws RangeError where there is none */
export function viewOf({ segments, grid }: Inspection, index: number): SegmentView {
  const segment = segments[index];
  if (segment === undefined)
    throw new RangeError(`Expected segment from 0 to ${segments.length - 1} but received ${index}`);
  const firstFrame = segments.slice(0, index).reduce((sum, { frames }) => sum + frames.length, 0);
  const placed = placedGrid(grid);
  const owners = segment.owners && ownersIn(segment.owners);
  const fits = placed && owners?.length === placed.steps * placed.rows * placed.columns;
  return { segment, firstFrame, grid: placed, owners: fits ? owners : undefined };
}

// A page draws a segment frame by frame.
const known = new WeakMap<Owners, Int32Array>();

function ownersIn(owners: Owners): Int32Array {
  const read = known.get(owners) ?? readOwners(owners);
  known.set(owners, read);
  return read;
}

/** A grid of patches that have places. Those in one row are no picture: towers that keep their class token say no more. */
export function placedGrid(grid: InspectedGrid | undefined): InspectedGrid | undefined {
  return grid === undefined || (grid.rows === 1 && grid.columns > 1) ? undefined : grid;
}

/** What the method did with the patches of a frame, in numbers. */
export type FrameCounts = {
  readonly tokens: number;
  readonly kept: number;
  readonly merged: number;
  readonly dropped: number;
};

/** Undefined where the method does not tell it. */
export function countsOf(view: SegmentView, frame: number): FrameCounts | undefined {
  const { grid, owners, segment } = view;
  if (grid === undefined || owners === undefined) return undefined;
  const seen = new Set<number>();
  const counts = { kept: 0, merged: 0, dropped: 0 };
  for (const owner of patchesOf(owners, grid, frame)) {
    if (owner >= 0) seen.add(owner);
    counts[owner < 0 ? 'dropped' : (segment.sizes[owner] ?? 1) > 1 ? 'merged' : 'kept']++;
  }
  return { tokens: seen.size, ...counts };
}

function patchesOf(owners: Int32Array, { rows, columns, framesPerStep }: InspectedGrid, frame: number): Int32Array {
  const step = Math.floor(frame / framesPerStep);
  return owners.subarray(step * rows * columns, (step + 1) * rows * columns);
}

export type FrameOptions = {
  /** Width in pixels; the height follows from the frame. Defaults to `160`. */
  readonly width?: number;
  /** Whether tokens are painted over the frame. Defaults to `true`. */
  readonly tokens?: boolean;
  /** Whether the numbers of patches stand in tokens that have room for them. Defaults to `true`. */
  readonly sizes?: boolean;
};

/**
 * A frame of a segment. Patches of one token have one colour and no line between them; patches that stayed as they were have a line
 * around them and no colour; those that were dropped are dark.
 * @param frame its index in the segment
 */
export function frameScene(
  inspection: Inspection,
  view: SegmentView,
  frame: number,
  options: FrameOptions = {},
): Scene {
  const { width = 160, tokens = true, sizes = true } = options;
  const { segment, firstFrame, grid } = view;
  const height = Math.round(width * aspectOf(grid));
  const found = segment.frames[frame];
  const shapes: Shape[] = [{ kind: 'rect', x: 0, y: 0, width, height, color: ink, opacity: 0.08 }];
  const href = found?.thumbnail;
  if (href !== undefined) shapes.push({ kind: 'image', x: 0, y: 0, width, height, href, frame: firstFrame + frame });
  if (tokens) shapes.push(...tokenShapes(view, frame, width, height, sizes));
  const time = found === undefined ? '' : ` at ${timeText(found.time, isShort(inspection))}`;
  return {
    ...{ width, height, shapes },
    title: `Frame ${firstFrame + frame + 1}${time}`,
    description: describe(view, frame),
  };
}

/** Whether times of a video need tenths of seconds. */
export function isShort({ method, video }: Inspection): boolean {
  return video.durationSeconds < 2 * method.frames && video.durationSeconds < 600;
}

/** Height of a frame for its width: cells of a grid are squares. */
export function aspectOf(grid: InspectedGrid | undefined): number {
  return grid === undefined ? 1 : grid.rows / grid.columns;
}

function describe(view: SegmentView, frame: number): string {
  const counts = countsOf(view, frame);
  if (counts === undefined) return 'Into which tokens its patches went is not known.';
  const { tokens, kept, merged, dropped } = counts;
  const parts = [
    merged > 0 ? `${counted(merged, 'patch', 'patches')} merged with others` : '',
    kept > 0 ? `${counted(kept, 'patch', 'patches')} kept` : '',
    dropped > 0 ? `${counted(dropped, 'patch', 'patches')} dropped` : '',
  ].filter(Boolean);
  return `${counted(tokens, 'token')} of it: ${parts.join(', ')}.`;
}

function tokenShapes(view: SegmentView, frame: number, width: number, height: number, sizes: boolean): Shape[] {
  const { grid, owners, segment } = view;
  if (grid === undefined) return [];
  const cell = { width: width / grid.columns, height: height / grid.rows };
  if (owners === undefined) return markedPlaces(segment, grid, frame, cell);
  const patches = patchesOf(owners, grid, frame);
  const sizeOf = (token: number) => segment.sizes[token] ?? 1;
  const shapes: Shape[] = [];
  const dropped: Rect[] = [];
  for (const [token, rects] of rectsOfTokens(patches, grid, cell)) {
    if (token < 0) dropped.push(...rects);
    else if (sizeOf(token) > 1) shapes.push({ kind: 'rects', rects, color: tokenColor(token), opacity: 0.5, token });
  }
  if (dropped.length > 0) shapes.push({ kind: 'rects', rects: dropped, color: black, opacity: 0.68 });
  shapes.push({ kind: 'rects', rects: edgesOf(patches, grid, cell), color: white, opacity: 0.85 });
  if (sizes) shapes.push(...sizeLabels(patches, grid, cell, sizeOf));
  return shapes;
}

type Cell = { readonly width: number; readonly height: number };

/** For each token the stretches of its patches, row by row. */
function rectsOfTokens(patches: Int32Array, { rows, columns }: InspectedGrid, cell: Cell): Map<number, Rect[]> {
  const found = new Map<number, Rect[]>();
  for (let row = 0; row < rows; row++)
    for (let from = 0, to = 0; from < columns; from = to) {
      const token = patches[row * columns + from]!;
      while (to < columns && patches[row * columns + to] === token) to++;
      const rect = { x: from * cell.width, y: row * cell.height, width: (to - from) * cell.width, height: cell.height };
      const rects = found.get(token);
      if (rects) rects.push(rect);
      else found.set(token, [rect]);
    }
  return found;
}

const lineWidth = 1;

/** Lines between patches of different tokens; none between two that were dropped. */
function edgesOf(patches: Int32Array, { rows, columns }: InspectedGrid, cell: Cell): Rect[] {
  const lines: Rect[] = [];
  const at = (row: number, column: number) => patches[row * columns + column];
  for (let row = 0; row < rows; row++)
    for (let column = 1; column < columns; column++)
      if (at(row, column) !== at(row, column - 1))
        lines.push({
          x: column * cell.width - lineWidth / 2,
          y: row * cell.height,
          width: lineWidth,
          height: cell.height,
        });
  for (let row = 1; row < rows; row++)
    for (let from = 0, to = 0; from < columns; from = to) {
      const differs = (column: number) => column < columns && at(row, column) !== at(row - 1, column);
      while (from < columns && !differs(from)) from++;
      to = from;
      while (differs(to)) to++;
      if (to > from)
        lines.push({
          x: from * cell.width,
          y: row * cell.height - lineWidth / 2,
          width: (to - from) * cell.width,
          height: lineWidth,
        });
    }
  return lines;
}

const labelSize = 9;

/** How many patches a token stands for, in the longest stretch of it that has room. */
function sizeLabels(patches: Int32Array, grid: InspectedGrid, cell: Cell, sizeOf: (token: number) => number): Shape[] {
  if (cell.height < labelSize - 1) return [];
  const labels: Shape[] = [];
  for (const [token, rects] of rectsOfTokens(patches, grid, cell)) {
    if (token < 0 || sizeOf(token) <= 1) continue;
    const longest = rects.reduce((best, rect) => (rect.width > best.width ? rect : best));
    const text = String(Math.round(sizeOf(token)));
    if (textWidth(text, labelSize) + 3 > longest.width) continue;
    labels.push(...labelAt(longest.x + longest.width / 2, longest.y + cell.height / 2, text));
  }
  return labels;
}

function labelAt(x: number, y: number, text: string): Shape[] {
  const width = textWidth(text, labelSize) + 3;
  return [
    { kind: 'rect', x: x - width / 2, y: y - 5, width, height: 10, color: black, opacity: 0.6, radius: 2 },
    { kind: 'text', x, y: y + 3.2, text, size: labelSize, anchor: 'middle', bold: true, color: white },
  ];
}

/** Where a method tells no more than which patch each token stands at. */
function markedPlaces(segment: InspectedSegment, grid: InspectedGrid, frame: number, cell: Cell): Shape[] {
  const { rows, columns, framesPerStep } = grid;
  const first = Math.floor(frame / framesPerStep) * rows * columns;
  const shapes: Shape[] = [];
  for (const [token, position] of (segment.positions ?? []).entries()) {
    const place = position - first;
    if (place < 0 || place >= rows * columns) continue;
    const [x, y] = [(place % columns) * cell.width, Math.floor(place / columns) * cell.height];
    const size = segment.sizes[token] ?? 1;
    const color = size > 1 ? tokenColor(token) : white;
    shapes.push({ kind: 'rects', rects: frameAround({ x, y, ...cell }, size > 1 ? 2 : 1), color, token });
    if (size > 1 && cell.height >= labelSize && textWidth(String(Math.round(size)), labelSize) + 3 <= cell.width)
      shapes.push(...labelAt(x + cell.width / 2, y + cell.height / 2, String(Math.round(size))));
  }
  return shapes;
}

function frameAround({ x, y, width, height }: Rect, line: number): Rect[] {
  return [
    { x, y, width, height: line },
    { x, y: y + height - line, width, height: line },
    { x, y: y + line, width: line, height: height - 2 * line },
    { x: x + width - line, y: y + line, width: line, height: height - 2 * line },
  ];
}
