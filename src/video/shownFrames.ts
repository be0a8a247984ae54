import { randomBytes } from 'node:crypto';

/** A word that no file can know. */
export function randomMark(): string {
  return randomBytes(12).toString('hex');
}

/**
 * Tells the times of the frames that pass places in the filter graphs of one ffmpeg process.
 *
 * The frames are marked and the marks printed to a pipe of their own. Nothing else is written there, and a file cannot know
 * the mark, so no text in a file can pretend to be a frame. Standard error carries only complaints then.
 */
export class ShownFrames {
  readonly #mark = `longvlm.${randomMark()}`;
  readonly #onFrame: (time: number, place: string) => void;
  #time: number | undefined;

  /** @param onFrame Called with the time of each frame in ticks, NaN if unknown, and the place that it passes. */
  constructor(onFrame: (time: number, place: string) => void) {
    this.#onFrame = onFrame;
  }

  /** The filters that tell of each frame. `place` is a word. */
  filters(place = 'frame'): string[] {
    const key = `${this.#mark}.${place}`;
    return [
      `metadata=mode=add:key=${key}:value=1`,
      // Without `direct`, a frame would be told of later than its pixels are written.
      `metadata=mode=print:key=${key}:file='pipe\\:3':direct=1`,
    ];
  }

  /** Parses a line of that pipe: the time, then the mark. */
  add(line: string): void {
    const time = /^frame: *\d+ +pts: *(-?\d+|NOPTS) /.exec(line)?.[1];
    if (time !== undefined) this.#time = Number(time);
    if (this.#time === undefined || !line.startsWith(`${this.#mark}.`)) return;
    this.#onFrame(this.#time, line.slice(this.#mark.length + 1, line.lastIndexOf('=')));
    this.#time = undefined;
  }
}
