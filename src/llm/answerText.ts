// The text of an answer as its tokens come in.

/** What turns token ids into text. */
export type Detokenize = (tokens: readonly number[]) => string;

/**
 * Gathers an answer's tokens and gives its text in pieces that never need to be taken back: bytes of an unfinished
 * character and what may become a stop text are held until more is known.
 */
export class AnswerText {
  readonly tokens: number[] = [];
  readonly #detokenize: Detokenize;
  readonly #stop: readonly string[];
  #given = 0;
  #stopped = false;

  constructor(detokenize: Detokenize, stop: readonly string[] = []) {
    this.#detokenize = detokenize;
    this.#stop = stop;
  }

  /** Whether a stop text has come. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Adds a token. @returns the text that is now certain, perhaps empty */
  push(token: number): string {
    this.tokens.push(token);
    const text = this.#text();
    const cut = this.#firstStop(text);
    if (cut !== undefined) {
      this.#stopped = true;
      return this.#give(text, cut);
    }
    return this.#give(text, Math.min(completeLength(text), text.length - this.#heldByStop(text)));
  }

  /** @returns what was held back, when no more tokens come */
  end(): string {
    if (this.#stopped) return '';
    const text = this.#text();
    return this.#give(text, text.length);
  }

  /** All the text that was given. */
  get text(): string {
    return this.#text().slice(0, this.#given);
  }

  #text(): string {
    return this.#detokenize(this.tokens).trimStart();
  }

  #give(text: string, end: number): string {
    const piece = text.slice(this.#given, end);
    this.#given = Math.max(this.#given, end);
    return piece;
  }

  #firstStop(text: string): number | undefined {
    const places = this.#stop.map((stop) => text.indexOf(stop)).filter((place) => place >= 0);
    return places.length > 0 ? Math.min(...places) : undefined;
  }

  #heldByStop(text: string): number {
    let held = 0;
    for (const stop of this.#stop)
      for (let length = Math.min(stop.length - 1, text.length); length > held; length--)
        if (text.endsWith(stop.slice(0, length))) held = length;
    return held;
  }
}

/** Length of `text` without replacement characters at its end: they stand for a character whose bytes are not all there. */
function completeLength(text: string): number {
  let length = text.length;
  while (length > 0 && text[length - 1] === '\ufffd') length--;
  return length;
}
