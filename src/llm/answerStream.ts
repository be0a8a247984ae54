/**
 * The pieces of an answer, which are generated as they are read. An answer that nobody reads on, such as one whose loop was left
 * without `return()`, must not keep later questions waiting: it can be told to go on without its reader.
 */
export class AnswerStream {
  readonly #source: AsyncGenerator<string, void, void>;
  readonly #ahead: Promise<IteratorResult<string, void>>[] = [];
  #goesOn = false;

  constructor(source: AsyncGenerator<string, void, void>) {
    this.#source = source;
  }

  /** The next piece. */
  next(): Promise<IteratorResult<string, void>> {
    return this.#ahead.shift() ?? this.#source.next();
  }

  /** Ends the answer. */
  async return(): Promise<void> {
    await this.#source.return();
  }

  /** Generates the rest of the answer, and keeps the pieces for its reader. */
  goOn(): void {
    if (this.#goesOn) return;
    this.#goesOn = true;
    void this.#readAhead();
  }

  async #readAhead(): Promise<void> {
    for (;;) {
      const piece = this.#source.next();
      this.#ahead.push(piece);
      try {
        if ((await piece).done) return;
      } catch {
        // The reader gets the error.
        return;
      }
    }
  }
}

/**
 * Yields an answer's pieces. While they are read, the answer is one of `streams`.
 * @param turn begins with the first piece that is asked for
 */
export async function* readAnswer(
  turn: AsyncGenerator<string, void, void>,
  streams: Set<AnswerStream>,
): AsyncGenerator<string, void, void> {
  const stream = new AnswerStream(turn);
  let next = stream.next();
  // Added once its turn has begun, which tells the streams before it to go on.
  streams.add(stream);
  try {
    for (;;) {
      const { value, done } = await next;
      if (done) return;
      yield value;
      next = stream.next();
    }
  } finally {
    streams.delete(stream);
    await stream.return();
  }
}
