// The text of an answer while its tokens are generated.

/** Converts token ids to text. */
export type Detokenize = (tokens: readonly number[]) => string;

/**
 * Collects an answer's tokens and returns its text in pieces that are final. Bytes of an incomplete character, and text that
 * may be the beginning of a stop text, are held back until the next tokens decide.
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

  /** Whether a stop text was reached. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Adds a token. @returns the text that is now final, may be empty */
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

  /** Ends the answer. @returns the text that was held back */
  end(): string {
    if (this.#stopped) return '';
    const text = this.#text();
    return this.#give(text, text.length);
  }

  /** All text that was returned so far. */
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

/** Length of `text` without trailing replacement characters, which stand for a character with missing bytes. */
function completeLength(text: string): number {
  let length = text.length;
  while (length > 0 && text[length - 1] === '\ufffd') length--;
  return length;
}
