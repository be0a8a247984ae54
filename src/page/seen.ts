// Asks for what the model sees of a video, and shows it.
import { counted, withCommas } from '../inspect/draw/scene.js';
import type { Inspection } from '../inspect/inspection.js';
import { type Api, isAbort, type Sampling, sentenceOf } from './api.js';
import { announce, byId, setText } from './dom.js';
import { SeenView } from './seenView.js';

export type SeenParts = {
  readonly samplingOf: () => Sampling;
  readonly onSeek: (seconds: number) => void;
  /** Called when another picture may stand for the video. */
  readonly onShown: () => void;
};

export class Seen {
  readonly #api: Api;
  readonly #parts: SeenParts;
  readonly #view: SeenView;
  #url: string | undefined;
  #shown: { readonly inspection: Inspection; readonly settings: string } | undefined;
  #looking: AbortController | undefined;

  constructor(api: Api, parts: SeenParts) {
    this.#api = api;
    this.#parts = parts;
    this.#view = new SeenView(byId('seen'), parts.onSeek);
    byId('renew').addEventListener('click', () => this.#url !== undefined && void this.look(this.#url));
  }

  /** Seconds of the video; undefined before it was looked at. */
  get length(): number | undefined {
    return this.#shown?.inspection.video.durationSeconds;
  }

  /** The picture of the moment that is chosen. */
  get still(): string | undefined {
    return this.#view.still;
  }

  /** @param url the video's address for the service */
  async look(url: string): Promise<void> {
    this.#looking?.abort();
    const looking = new AbortController();
    this.#looking = looking;
    this.#url = url;
    byId('stale').hidden = true;
    showTrouble('');
    const end = showTask();
    const sampling = this.#parts.samplingOf();
    try {
      const inspection = await this.#api.inspect(url, sampling, looking.signal);
      if (looking.signal.aborted) return;
      this.#show(inspection, JSON.stringify(sampling));
    } catch (error) {
      if (isAbort(error) || looking.signal.aborted) return;
      showTrouble(sentenceOf(error));
      byId('stale').hidden = false;
    } finally {
      if (this.#looking === looking) end();
    }
  }

  /** Other settings than those that are shown may be wanted now. */
  onSettings(): void {
    if (this.#shown === undefined) return;
    byId('stale').hidden = JSON.stringify(this.#parts.samplingOf()) === this.#shown.settings;
  }

  at(seconds: number, sought: boolean): void {
    this.#view.at(seconds, sought);
  }

  clear(): void {
    this.#looking?.abort();
    this.#looking = undefined;
    this.#url = undefined;
    this.#shown = undefined;
    this.#view.clear();
    setText(byId('seen-facts'), '');
    byId('inspect-task').hidden = true;
    byId('stale').hidden = true;
    showTrouble('');
  }

  #show(inspection: Inspection, settings: string): void {
    this.#shown = { inspection, settings };
    this.#view.show(inspection);
    const { tokens, method, segments } = inspection;
    const inSegments = method.whole ? '' : ` in ${counted(segments.length, 'segment')}`;
    const words = `${withCommas(tokens.patches)} patches became ${counted(tokens.video, 'token')}`;
    setText(byId('seen-facts'), `${counted(method.frames, 'frame')}${inSegments}, ${words} by ${method.reduction}`);
    announce(`${words}.`);
    this.#parts.onShown();
    this.onSettings();
  }
}

/** Shows that it is being worked on, and for how long. @returns what ends that */
function showTask(): () => void {
  const started = performance.now();
  const words = byId('inspect-words');
  setText(words, 'Decoding and encoding the video');
  byId('inspect-task').hidden = false;
  const timer = setInterval(() => {
    const seconds = Math.round((performance.now() - started) / 1000);
    if (seconds >= 3) setText(words, `Decoding and encoding the video: ${seconds} s`);
  }, 1000);
  return () => {
    clearInterval(timer);
    byId('inspect-task').hidden = true;
  };
}

function showTrouble(sentence: string): void {
  byId('inspect-error').hidden = sentence === '';
  setText(byId('inspect-error'), sentence);
}
