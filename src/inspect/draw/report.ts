// All of an inspection as one picture.
import type { Inspection } from '../inspection.js';
import { promptScene } from './prompt.js';
import { counted, fitted, ink, type Scene, type Shape, timeText, withCommas } from './scene.js';
import { evenly, segmentScene, titleOf } from './segment.js';
import { timelineScene } from './timeline.js';

export type ReportOptions = {
  /** In pixels. Defaults to `1000`. */
  readonly width?: number;
  /** At most so many segments, evenly chosen. Defaults to `12`. */
  readonly segments?: number;
};

const margin = 28;

/** Facts, the timeline, what the language model sees, and segments, one below the other. */
export function reportScene(inspection: Inspection, options: ReportOptions = {}): Scene {
  const { width = 1000, segments: most = 12 } = options;
  const inner = width - 2 * margin;
  const shapes: Shape[] = [];
  let y = margin + 20;
  const text = (text: string, size: number, style: { bold?: boolean; opacity?: number }, below: number) => {
    shapes.push({ kind: 'text', x: 0, y, text: fitted(text, size, inner), size, color: ink, ...style });
    y += below;
  };
  const part = (title: string, scene: Scene) => {
    y += 22;
    text(title, 15, { bold: true }, 14);
    shapes.push({ kind: 'group', x: 0, y, shapes: scene.shapes });
    y += scene.height + 10;
  };
  text(inspection.video.name, 24, { bold: true }, 22);
  for (const fact of factsOf(inspection)) text(fact, 13, { opacity: 0.75 }, 19);
  part('The video', timelineScene(inspection, { width: inner }));
  part('What the language model sees', promptScene(inspection, { width: inner }));
  const shown = evenly(inspection.segments.length, most);
  for (const index of shown) part(titleOf(inspection, index), segmentScene(inspection, index, { width: inner }));
  y += 12;
  const left = inspection.segments.length - shown.length;
  for (const note of [
    ...(left > 0 ? [`${counted(left, 'segment')} more are not drawn here.`] : []),
    ...inspection.notes,
  ])
    text(note, 12, { opacity: 0.75 }, 18);
  return {
    width,
    height: Math.ceil(y + margin / 2),
    title: `What a language model sees of ${inspection.video.name}`,
    description: factsOf(inspection).join(' '),
    shapes: [{ kind: 'group', x: margin, y: 0, shapes }],
  };
}

/** What was done with the video, in sentences. */
export function factsOf({ video, method, tokens, grid, models, global, segments }: Inspection): string[] {
  const range =
    method.start === undefined && method.end === undefined
      ? ''
      : ` from ${timeText(method.start ?? 0, true)} to ${timeText(method.end ?? video.durationSeconds, true)}`;
  const cut = method.whole
    ? 'reduced as a whole'
    : `in ${counted(segments.length, 'segment')} of ${method.segmentFrames}`;
  const patches = grid
    ? `${grid.rows} x ${grid.columns} patches ${grid.framesPerStep > 1 ? `for each ${grid.framesPerStep} frames` : 'each'}`
    : '';
  const share = tokens.patches > 0 ? ` (${(100 * (tokens.local / tokens.patches)).toPrecision(2)}%)` : '';
  const layers =
    global.tokens > 0
      ? `${counted(global.tokens, 'global token')} from layers ${rangeText(global.layers)} of ${global.of}`
      : 'No global tokens';
  const options = Object.entries(method.options ?? {}).map(([name, value]) => `${name} ${value}`);
  return [
    `${video.width} x ${video.height} pixels, ${timeText(video.durationSeconds, true)}; ${counted(method.frames, 'frame')}${range} ${cut}${patches && `, ${patches}`}.`,
    `${withCommas(tokens.patches)} patches become ${counted(tokens.local, 'local token')}${share} by ${[method.reduction, ...options].join(', ')}. ${layers}.`,
    `Model: ${[models.name, models.vision, models.llm].filter(Boolean).join(' · ')}.`,
    ...(method.text === undefined ? [] : [method.text]),
  ];
}

/** `20 to 24`. */
function rangeText(layers: readonly number[]): string {
  return layers.length < 2 ? layers.join('') : `${layers[0]} to ${layers.at(-1)}`;
}
