// The moments of a video as a strip of buttons, of which the arrow keys choose.
import { counted, timeText } from '../inspect/draw/scene.js';
import type { Inspection } from '../inspect/inspection.js';
import { element } from './dom.js';
import type { Moment } from './moments.js';

export class Timeline {
  readonly view: HTMLElement;
  readonly #buttons: readonly HTMLButtonElement[];
  #chosen = 0;

  /** @param onChoose called with the index of a moment that someone chose */
  constructor(inspection: Inspection, moments: readonly Moment[], onChoose: (index: number) => void) {
    const tokens = inspection.method.whole ? undefined : inspection.method.tokensPerSegment;
    this.#buttons = moments.map((moment, index) => {
      const { name, start, end, thumbnail } = moment;
      const words = `${name}, ${timeText(start)} to ${timeText(end)}${tokens === undefined ? '' : `, ${counted(tokens, 'token')}`}`;
      return element(
        'button',
        {
          type: 'button',
          class: 'moment',
          'aria-label': words,
          'aria-pressed': 'false',
          title: words,
          tabIndex: -1,
          onclick: () => onChoose(index),
        },
        thumbnail === undefined
          ? element('span', { class: 'moment-none' })
          : element('img', { src: thumbnail, alt: '', draggable: false }),
        element('span', { class: 'moment-time', 'aria-hidden': 'true' }, timeText(start)),
      );
    });
    this.view = element('div', { class: 'strip', role: 'group', 'aria-label': 'Timeline' }, ...this.#buttons);
    this.view.addEventListener('keydown', (event) => this.#onKey(event));
    this.choose(0);
  }

  /** Marks a moment as chosen. */
  choose(index: number): void {
    const before = this.#buttons[this.#chosen];
    before?.setAttribute('aria-pressed', 'false');
    if (before) before.tabIndex = -1;
    this.#chosen = index;
    const button = this.#buttons[index];
    if (button === undefined) return;
    button.setAttribute('aria-pressed', 'true');
    button.tabIndex = 0;
    this.#reveal(button);
  }

  /** Marks the moment that is played. */
  play(index: number): void {
    for (const [at, button] of this.#buttons.entries()) button.classList.toggle('playing', at === index);
  }

  #onKey(event: KeyboardEvent): void {
    const last = this.#buttons.length - 1;
    const to = { ArrowRight: this.#chosen + 1, ArrowLeft: this.#chosen - 1, Home: 0, End: last }[event.key];
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const button = this.#buttons[Math.min(last, Math.max(0, to))]!;
    button.click();
    button.focus();
  }

  /** Moves the strip alone, never the page. */
  #reveal(button: HTMLElement): void {
    const { view } = this;
    const [left, right] = [button.offsetLeft, button.offsetLeft + button.offsetWidth];
    if (left < view.scrollLeft) view.scrollLeft = left - 24;
    else if (right > view.scrollLeft + view.clientWidth) view.scrollLeft = right - view.clientWidth + 24;
  }
}
