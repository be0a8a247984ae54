// What the model sees of a video: the timeline, the tokens of the moment that is chosen, and the whole prompt.
import { promptScene } from '../inspect/draw/prompt.js';
import { counted, timeText } from '../inspect/draw/scene.js';
import { toSvg } from '../inspect/draw/svg.js';
import type { Inspection } from '../inspect/inspection.js';
import { drawing, element } from './dom.js';
import { type Moment, momentAt, momentsOf } from './moments.js';
import { momentView } from './momentView.js';
import { Timeline } from './timeline.js';

/** @param onSeek called with seconds that someone wants to see */
export class SeenView {
  readonly #root: HTMLElement;
  readonly #onSeek: (seconds: number) => void;
  #inspection: Inspection | undefined;
  #moments: readonly Moment[] = [];
  #timeline: Timeline | undefined;
  #chosen = 0;
  #painted = true;
  #width = 0;
  readonly #prompt = element('div', { class: 'prompt' });
  readonly #moment = element('div', { class: 'moment-panel', 'aria-live': 'off' });

  constructor(root: HTMLElement, onSeek: (seconds: number) => void) {
    this.#root = root;
    this.#onSeek = onSeek;
    new ResizeObserver(() => {
      if (this.#inspection && Math.abs(root.clientWidth - this.#width) > 1) this.#draw();
    }).observe(root);
  }

  /** The picture of the moment that is chosen, for videos that the browser cannot play. */
  get still(): string | undefined {
    return this.#moments[this.#chosen]?.thumbnail;
  }

  show(inspection: Inspection): void {
    this.#inspection = inspection;
    this.#moments = momentsOf(inspection);
    this.#chosen = Math.min(this.#chosen, this.#moments.length - 1);
    this.#timeline = new Timeline(inspection, this.#moments, (index) => {
      this.#choose(index);
      this.#onSeek(this.#moments[index]!.start);
    });
    this.#root.replaceChildren(
      this.#timeline.view,
      this.#moment,
      element('h3', {}, 'In the prompt'),
      this.#prompt,
      ...globalLine(inspection),
      ...notesOf(inspection),
    );
    this.#timeline.choose(this.#chosen);
    this.#draw();
  }

  clear(): void {
    this.#inspection = undefined;
    this.#moments = [];
    this.#timeline = undefined;
    this.#chosen = 0;
    this.#root.replaceChildren();
  }

  /** Marks the moment that is played; chooses it where it was sought. */
  at(seconds: number, sought: boolean): void {
    if (this.#moments.length === 0) return;
    const index = momentAt(this.#moments, seconds);
    this.#timeline!.play(index);
    if (sought && index !== this.#chosen) this.#choose(index);
  }

  #choose(index: number): void {
    this.#chosen = index;
    this.#timeline!.choose(index);
    this.#drawMoment();
  }

  #draw(): void {
    this.#width = this.#root.clientWidth;
    this.#prompt.replaceChildren(drawing(toSvg(promptScene(this.#inspection!, { width: Math.max(240, this.#width) }))));
    this.#drawMoment();
  }

  #drawMoment(): void {
    const moment = this.#moments[this.#chosen];
    const inspection = this.#inspection!;
    if (moment === undefined) return;
    const painted = element('input', { type: 'checkbox', checked: this.#painted });
    painted.addEventListener('change', () => {
      this.#painted = painted.checked;
      this.#drawMoment();
      this.#moment.querySelector('input')?.focus();
    });
    const { name, start, end } = moment;
    this.#moment.replaceChildren(
      element(
        'div',
        { class: 'moment-head' },
        element(
          'h3',
          {},
          `${name} of ${this.#moments.length}`,
          element('span', { class: 'facts' }, ` ${timeText(start)} to ${timeText(end)}`),
        ),
        element('label', { class: 'check' }, painted, 'Paint tokens'),
      ),
      element('p', { class: 'hint' }, hintOf(inspection, moment)),
      momentView(inspection, moment, {
        painted: this.#painted,
        width: Math.max(240, this.#width),
        onSeek: this.#onSeek,
      }),
    );
  }
}

/** How to read the painted frames. */
function hintOf({ segments, grid }: Inspection, { segment }: Moment): string {
  const { owners, positions, sizes } = segments[segment]!;
  if (grid === undefined || (owners === undefined && positions === undefined))
    return 'This method does not tell which patches became which token.';
  const merges = sizes.some((size) => size > 1);
  if (owners === undefined) return 'Each token stands at the patch that is marked, and may hold parts of others.';
  return merges
    ? 'Patches of one colour became one token, however far apart. Point at one to see all of it.'
    : 'Patches with a line around them are tokens; dark ones were dropped.';
}

function globalLine({ global }: Inspection): HTMLElement[] {
  if (global.tokens === 0) return [];
  const chips = global.layers.map((layer) => element('li', {}, `layer ${layer}`));
  const words = `${counted(global.tokens, 'global token')} for the whole video: each is the mean of all frames at one layer of the tower, which has ${global.of}.`;
  return [element('p', { class: 'hint' }, words), element('ul', { class: 'chips' }, ...chips)];
}

function notesOf({ notes, video }: Inspection): HTMLElement[] {
  return [...notes, ...video.warnings].map((note) => element('p', { class: 'hint' }, note));
}
