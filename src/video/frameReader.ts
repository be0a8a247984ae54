import { checkNotKilled } from './decode.js';
import type { FfmpegBinary } from './ffmpeg.js';
import { FfmpegProcess } from './ffmpegProcess.js';
import type { FrameSizes } from './geometry.js';
import type { Argument, InputFile } from './inputFile.js';
import { rawPixels, readPixels } from './pixels.js';
import { ShownFrames } from './shownFrames.js';

/** Some frames of one file, one after the other. */
export type FrameChain = {
  readonly file: InputFile;
  /** The options that open it. */
  readonly input: readonly Argument[];
  /** How ffmpeg calls the stream, as in `V:0`. */
  readonly stream: string;
  /** Filters that pick the frames and make their pictures. */
  readonly filters: readonly string[];
  /** The index of the frame that comes next and is shown at `time` in ticks; -1 where it is none that is known. */
  readonly indexOf: (time: number) => number;
};

/** The place where the frames of all chains pass. */
const JOINED = 'joined';

/**
 * One ffmpeg that gives the frames of some chains, in order.
 *
 * Each frame is recognised by what ffmpeg tells before it writes the pixels, so a frame that a decoder leaves out, or
 * that a seek misses, is noticed and cannot push the others out of place.
 */
export class FrameReader {
  readonly #ffmpeg: FfmpegProcess;
  readonly #sizes: FrameSizes;
  readonly #files: readonly InputFile[];
  /** Frames announced by each chain and not yet by the output. */
  readonly #announced: number[][];
  #chain = 0;
  /** Frames that are in the output or about to be. */
  readonly #arrived: number[] = [];
  #wake: () => void = () => {};
  #ended = false;

  /** @param sizes Those that the pictures of all chains have. */
  constructor(binary: FfmpegBinary, chains: readonly FrameChain[], sizes: FrameSizes, signal: AbortSignal | undefined) {
    this.#sizes = sizes;
    this.#files = chains.map(({ file }) => file);
    this.#announced = chains.map(() => []);
    const frames = new ShownFrames(binary, (time, place) => {
      if (place !== JOINED) this.#announced[Number(place)]!.push(chains[Number(place)]!.indexOf(time));
      // With several chains, the joined output tells when a frame passes: announcements may come before their turn.
      if (place === JOINED || chains.length === 1) this.#arrive();
    });
    this.#ffmpeg = new FfmpegProcess(
      binary,
      [
        '-copyts',
        ...chains.flatMap(({ input }) => input),
        ...['-filter_complex', filterGraph(chains, frames), '-map', '[out]'],
        ...[...binary.passthrough, ...rawPixels],
      ],
      signal,
      undefined,
      frames,
    );
    void this.#ffmpeg.closed.then(() => {
      this.#ended = true;
      this.#wake();
    });
  }

  #arrive(): void {
    while (this.#chain < this.#announced.length && this.#announced[this.#chain]!.length === 0) this.#chain++;
    this.#arrived.push(this.#announced[this.#chain]?.shift() ?? -1);
    this.#wake();
  }

  /** The index of the next frame; undefined at the end. */
  async peek(): Promise<number | undefined> {
    if (this.#arrived.length === 0) {
      // A frame in the output was announced earlier, but the line that told so may arrive slightly later.
      const more = await this.#ffmpeg.hasMore();
      if (!more) await this.#ffmpeg.closed;
      while (more && this.#arrived.length === 0 && !this.#ended)
        await new Promise<void>((fulfil) => {
          this.#wake = fulfil;
        });
    }
    return this.#arrived[0];
  }

  /** Reads the pixels of the frame that {@link peek} returned: RGB rows into `target`. False if the output ends earlier. */
  read(target: Uint8Array): Promise<boolean> {
    this.#arrived.shift();
    return readPixels(this.#ffmpeg, this.#sizes, target);
  }

  /** ffmpeg's first error message; empty if there is none. */
  get complaint(): string {
    return this.#ffmpeg.complaint;
  }

  keepAlive(keep: boolean): void {
    this.#ffmpeg.keepAlive(keep);
  }

  /**
   * Waits for ffmpeg to exit, which it does soon after the last frame.
   *
   * @throws LongVLMError when ffmpeg was killed or crashed.
   */
  async finish(): Promise<void> {
    while (await this.#ffmpeg.read());
    checkNotKilled(await this.#ffmpeg.closed, this.#files[0]!);
  }

  dispose(): Promise<void> {
    return this.#ffmpeg.dispose();
  }
}

/** Makes the pictures of each chain, and joins those of several end to end. */
function filterGraph(chains: readonly FrameChain[], frames: ShownFrames): string {
  const graphs = chains.map(({ stream, filters }, i) => {
    return `[${i}:${stream}]${[...filters, 'setsar=1', ...frames.filters(String(i))].join(',')}`;
  });
  if (graphs.length === 1) return `${graphs[0]}[out]`;
  const outs = graphs.map((_, i) => `[c${i}]`);
  const joined = `${outs.join('')}concat=n=${graphs.length}:v=1:a=0,setpts=N,${frames.filters(JOINED).join(',')}[out]`;
  return [...graphs.map((graph, i) => graph + outs[i]), joined].join(';');
}
