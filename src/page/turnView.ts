// One question and its answer, as they stand in the conversation.
import { counted, timeText } from '../inspect/draw/scene.js';
import type { Chunk, Progress } from './api.js';
import { element, setText } from './dom.js';
import { splitTimes } from './times.js';
import { bytes, percent, seconds } from './words.js';

export type TurnListeners = {
  readonly onSeek: (seconds: number) => void;
  readonly onAgain: () => void;
  /** Seconds of the video, as far as they are known. */
  readonly secondsOf: () => number | undefined;
};

export class TurnView {
  readonly view: HTMLLIElement;
  readonly #answer = element('p', { class: 'answer' });
  readonly #task: HTMLElement;
  readonly #words = element('span');
  readonly #progress = element('progress', { max: 1, 'aria-hidden': 'true' });
  readonly #foot = element('p', { class: 'facts' });
  readonly #listeners: TurnListeners;

  constructor(question: string, listeners: TurnListeners) {
    this.#listeners = listeners;
    this.#task = element('div', { class: 'task' }, this.#words, this.#progress);
    this.view = element(
      'li',
      { class: 'turn' },
      element('p', { class: 'asked' }, element('span', { class: 'hidden' }, 'You asked: '), question),
      element(
        'div',
        { class: 'answered' },
        element('span', { class: 'hidden' }, 'Answer: '),
        this.#task,
        this.#answer,
        this.#foot,
      ),
    );
    this.doing('Waiting for its turn');
  }

  /** What is being done. @param part from 0 to 1; undefined where it is not known */
  doing(words: string, part?: number): void {
    this.#task.hidden = false;
    setText(this.#words, words);
    if (part === undefined) this.#progress.removeAttribute('value');
    else this.#progress.value = part;
  }

  write(text: string): void {
    this.#task.hidden = true;
    this.#answer.classList.add('writing');
    this.#answer.append(text);
  }

  /** The whole answer is there: its times lead to their moments. */
  end(text: string, foot: string): void {
    this.#task.hidden = true;
    this.#answer.classList.remove('writing');
    this.#answer.replaceChildren(
      ...splitTimes(text, this.#listeners.secondsOf()).map(({ text, seconds }) =>
        seconds === undefined
          ? text
          : element(
              'button',
              {
                type: 'button',
                class: 'time',
                'aria-label': `Go to ${timeText(seconds)}`,
                onclick: () => this.#listeners.onSeek(seconds),
              },
              text,
            ),
      ),
    );
    setText(this.#foot, foot);
  }

  fail(text: string, sentence: string): void {
    this.end(text, '');
    const again = element(
      'button',
      { type: 'button', class: 'secondary', onclick: () => this.#listeners.onAgain() },
      'Ask again',
    );
    this.#foot.replaceWith(element('div', { class: 'notice', role: 'alert' }, element('span', {}, sentence), again));
  }
}

/** What is being done with a video, in words, and how much of it is done. */
export function wordsOf({ stage, done, total, unit }: Progress): [words: string, part?: number] {
  const part = total > 0 ? done / total : undefined;
  if (stage === 'fetch') return [`Fetching the video: ${bytes(done)}${total > 0 ? ` of ${bytes(total)}` : ''}`, part];
  if (stage === 'probe') return ['Reading the video'];
  if (stage !== 'encode') return ['Getting ready'];
  if (total > 0 && done >= total) return ['Thinking'];
  return [`Looking at the video: ${done} of ${total} ${unit}`, part];
}

/** What an answer took. */
export function footOf(usage: Chunk['usage'], used: Chunk['longvlm']): string {
  const video = usage?.prompt_tokens_details?.video_tokens;
  const first = used?.timings && used.timings.encode + used.timings.firstToken;
  return [
    ...(video === undefined ? [] : [`${counted(video, 'token')} of video`]),
    ...(usage === undefined ? [] : [`${counted(usage.completion_tokens, 'token')} of answer`]),
    ...(first === undefined ? [] : [`first word after ${seconds(first)}`]),
  ].join(' · ');
}

/** How far an upload is, in words. */
export function uploadWords(part: number, size: number): string {
  return part >= 1 ? 'Uploaded' : `Uploading: ${percent(part, 1)} of ${bytes(size)}`;
}
