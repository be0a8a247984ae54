// The frames of a moment, with the patches of each token painted over them.
import { type FrameOptions, frameScene, isShort, type SegmentView, viewOf } from '../inspect/draw/frame.js';
import { timeText } from '../inspect/draw/scene.js';
import { sizesScene } from '../inspect/draw/segment.js';
import { toSvg } from '../inspect/draw/svg.js';
import type { Inspection } from '../inspect/inspection.js';
import { drawing, element } from './dom.js';
import type { Moment } from './moments.js';

/** Frames of a moment that are shown at most: more are no picture any more. */
const mostFrames = 48;

export type MomentOptions = {
  /** Whether tokens are painted. */
  readonly painted: boolean;
  /** Width of the bar of sizes, in pixels. */
  readonly width: number;
  readonly onSeek: (seconds: number) => void;
};

export function momentView(
  inspection: Inspection,
  moment: Moment,
  { painted, width, onSeek }: MomentOptions,
): HTMLElement {
  const view = viewOf(inspection, moment.segment);
  const shown = Math.min(moment.to, moment.from + mostFrames);
  const frames = Array.from({ length: shown - moment.from }, (_, at) =>
    frameButton(inspection, view, moment.from + at, { tokens: painted, width: 132 }, onSeek),
  );
  const left = moment.to - shown;
  const sizes = drawing(toSvg(sizesScene(view, width)));
  const made = element(
    'div',
    { class: 'moment-view' },
    element('div', { class: 'frames' }, ...frames),
    left > 0 && element('p', { class: 'hint' }, `and ${left} more frames`),
    element('div', { class: 'sizes' }, sizes),
  );
  pointOutTokens(made);
  return made;
}

function frameButton(
  inspection: Inspection,
  view: SegmentView,
  frame: number,
  options: FrameOptions,
  onSeek: (seconds: number) => void,
): HTMLButtonElement {
  const scene = frameScene(inspection, view, frame, options);
  const { time } = view.segment.frames[frame]!;
  const picture = drawing(toSvg(scene));
  picture.setAttribute('aria-hidden', 'true');
  const label = `${scene.title}. ${scene.description} Go there.`;
  return element(
    'button',
    { type: 'button', class: 'frame', onclick: () => onSeek(time) },
    picture,
    element('span', { class: 'hidden' }, label),
    element('span', { class: 'frame-time', 'aria-hidden': 'true' }, timeText(time, isShort(inspection))),
  );
}

/** Whoever points at a patch sees all patches of its token. */
function pointOutTokens(view: HTMLElement): void {
  const marked = () => view.querySelectorAll('[data-token]');
  const show = (token: string | undefined) => {
    view.classList.toggle('pointing', token !== undefined);
    for (const each of marked()) each.classList.toggle('pointed', each.getAttribute('data-token') === token);
  };
  const tokenOf = (event: Event) =>
    (event.target as Element).closest('[data-token]')?.getAttribute('data-token') ?? undefined;
  view.addEventListener('pointerover', (event) => show(tokenOf(event)));
  view.addEventListener('pointerleave', () => show(undefined));
}
