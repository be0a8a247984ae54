// The text of an answer on its way between machines.
import { LongVLMError } from '../base/errors.js';

/**
 * Sends the pieces of one answer, in order: those that come while one is on its way go together.
 */
export class TextSender {
  readonly #send: (at: number, text: string) => Promise<unknown>;
  #waiting = '';
  #sent = 0;
  #sending = false;

  /** @param send sends a text, before which there are `at` characters */
  constructor(send: (at: number, text: string) => Promise<unknown>) {
    this.#send = send;
  }

  add(text: string): void {
    this.#waiting += text;
    if (!this.#sending) void this.#flush();
  }

  async #flush(): Promise<void> {
    this.#sending = true;
    while (this.#waiting !== '') {
      const text = this.#waiting;
      const at = this.#sent;
      this.#waiting = '';
      this.#sent += text.length;
      // What is lost comes with the whole answer.
      await this.#send(at, text).catch(() => {});
    }
    this.#sending = false;
  }
}

/**
 * Gives the text of an answer once and in order, whoever sends it: a job that began anew, after its worker was lost, sends all of it
 * again.
 */
export class TextReceiver {
  readonly #onText: (text: string) => void;
  #text = '';
  #differs = false;

  constructor(onText: (text: string) => void) {
    this.#onText = onText;
  }

  /** Takes a piece, before which there are `at` characters. One behind a gap waits for the whole answer. */
  take(at: number, piece: string): void {
    if (this.#differs || at > this.#text.length) return;
    const known = this.#text.length - at;
    this.#differs = !this.#text.slice(at).startsWith(piece.slice(0, known));
    if (!this.#differs && piece.length > known) this.#give(piece.slice(known));
  }

  /**
   * Gives what is missing of the whole answer.
   * @throws LongVLMError `ERR_LONGVLM_QUEUE` when it does not begin with what was given
   */
  end(whole: string): void {
    if (!whole.startsWith(this.#text))
      throw new LongVLMError(
        'ERR_LONGVLM_QUEUE',
        'The worker of this answer was lost, and another one answers in other words. Ask again.',
      );
    if (whole.length > this.#text.length) this.#give(whole.slice(this.#text.length));
  }

  #give(text: string): void {
    this.#text += text;
    this.#onText(text);
  }
}
