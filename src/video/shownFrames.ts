import { randomBytes } from 'node:crypto';
import type { FfmpegBinary } from './ffmpeg.js';

/** A word that no file can know. */
export function randomMark(): string {
  return randomBytes(12).toString('hex');
}

/**
 * Tells the times of the frames that pass places in the filter graphs of one ffmpeg process.
 *
 * The frames are marked and the marks printed to a pipe of their own. Nothing else is written there, and a file cannot know
 * the mark, so no text in a file can pretend to be a frame. Standard error carries only complaints then. An old ffmpeg tells of
 * frames there, by a filter that has the mark in its name, and takes longer for that.
 */
export class ShownFrames {
  /** Whether the lines for {@link ShownFrames.add} come through standard error, among others. */
  readonly inLog: boolean;
  readonly #mark = `longvlm.${randomMark()}`;
  readonly #onFrame: (time: number, place: string) => void;
  #time: number | undefined;

  /** @param onFrame Called with the time of each frame in ticks, NaN if unknown, and the place that it passes. */
  constructor({ printsAtOnce }: FfmpegBinary, onFrame: (time: number, place: string) => void) {
    this.inLog = !printsAtOnce;
    this.#onFrame = onFrame;
  }

  /** The filters that tell of each frame. `place` is a word. */
  filters(place = 'frame'): string[] {
    const key = `${this.#mark}.${place}`;
    if (this.inLog) return [`showinfo@${key}`];
    return [
      `metadata=mode=add:key=${key}:value=1`,
      // Without `direct`, a frame would be told of later than its pixels are written.
      `metadata=mode=print:key=${key}:file='pipe\\:3':direct=1`,
    ];
  }

  /** Parses a line of that pipe, or of standard error. */
  add(line: string): void {
    if (this.inLog) this.#addLogged(line);
    else this.#addPrinted(line);
  }

  #addLogged(line: string): void {
    const [, mark, place, time] =
      /^\[showinfo@(longvlm\.\w+)\.(\w+) @ [^\]]*\].*? n: *\d+ pts: *(-?\d+|NOPTS) /.exec(line) ?? [];
    if (mark === this.#mark) this.#onFrame(Number(time), place!);
  }

  /** First the time, then the mark. */
  #addPrinted(line: string): void {
    const time = /^frame: *\d+ +pts: *(-?\d+|NOPTS) /.exec(line)?.[1];
    if (time !== undefined) this.#time = Number(time);
    if (this.#time === undefined || !line.startsWith(`${this.#mark}.`)) return;
    this.#onFrame(this.#time, line.slice(this.#mark.length + 1, line.lastIndexOf('=')));
    this.#time = undefined;
  }
}
