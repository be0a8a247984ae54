import { checkNotKilled, decoderInput, type Source, shownTime } from './decode.js';
import { FfmpegProcess } from './ffmpegProcess.js';
import type { FrameTable } from './frameTable.js';
import type { FramePipeline } from './geometry.js';
import { complaintAbout, type InputFile } from './inputFile.js';
import { rawPixels, readPixels } from './pixels.js';
import type { Run } from './plan.js';

/**
 * One ffmpeg that gives the frames of some runs, in order.
 *
 * Each frame is recognised by the timestamp that ffmpeg logs before it writes the pixels, so a frame that a decoder
 * leaves out, or that a seek misses, is noticed and cannot push the others out of place.
 */
export class FrameReader {
  readonly #ffmpeg: FfmpegProcess;
  readonly #pipeline: FramePipeline;
  readonly #file: InputFile;
  /** Frames announced by each run and not yet by the output. */
  readonly #announced: number[][];
  #run = 0;
  /** Frames that are in the output or about to be. */
  readonly #arrived: number[] = [];
  #wake: () => void = () => {};
  #ended = false;

  constructor(
    source: Source,
    table: FrameTable,
    runs: readonly Run[],
    pipeline: FramePipeline,
    signal: AbortSignal | undefined,
  ) {
    this.#pipeline = pipeline;
    this.#file = source.file;
    this.#announced = runs.map(() => []);
    const counted = table.by === 'count' ? [...runs[0]!.frames] : undefined;
    this.#ffmpeg = new FfmpegProcess(
      source.binary,
      [
        '-copyts',
        // A decoder for one frame gains nothing from threads; two processes run at once.
        ...runs.flatMap((run) => decoderInput(source, run.seek, run.frames.length === 1 ? 1 : undefined)),
        ...['-filter_complex', filterGraph(source, table, runs, pipeline), '-map', '[out]'],
        ...[...source.binary.passthrough, ...rawPixels],
      ],
      signal,
      (line) => {
        const time = shownTime(line);
        if (time === undefined) return;
        const run = /^\[showinfo@run(\d+)/.exec(line)?.[1];
        if (run !== undefined) this.#announced[Number(run)]!.push(counted?.shift() ?? table.indexOf(time));
        // With several runs, the joined output tells when a frame passes: announcements may come before their turn.
        if (run === undefined || runs.length === 1) this.#arrive();
      },
    );
    void this.#ffmpeg.closed.then(() => {
      this.#ended = true;
      this.#wake();
    });
  }

  #arrive(): void {
    while (this.#run < this.#announced.length && this.#announced[this.#run]!.length === 0) this.#run++;
    this.#arrived.push(this.#announced[this.#run]?.shift() ?? -1);
    this.#wake();
  }

  /** The index of the next frame; undefined when no more come. */
  async peek(): Promise<number | undefined> {
    if (this.#arrived.length === 0) {
      // What is in the output was announced before, though its line may come to us a moment later.
      const more = await this.#ffmpeg.hasMore();
      if (!more) await this.#ffmpeg.closed;
      while (more && this.#arrived.length === 0 && !this.#ended)
        await new Promise<void>((fulfil) => {
          this.#wake = fulfil;
        });
    }
    return this.#arrived[0];
  }

  /** Reads the pixels of the frame that {@link peek} announced: RGB rows into `target`. False when they are cut off. */
  read(target: Uint8Array): Promise<boolean> {
    this.#arrived.shift();
    return readPixels(this.#ffmpeg, this.#pipeline, target);
  }

  /** What ffmpeg complained about. */
  get complaint(): string {
    return complaintAbout(this.#file, this.#ffmpeg.complaint);
  }

  keepAlive(keep: boolean): void {
    this.#ffmpeg.keepAlive(keep);
  }

  /**
   * Waits for ffmpeg to end by itself, which it does soon after the last frame.
   *
   * @throws LongVLMError when something ended ffmpeg from outside or it crashed.
   */
  async finish(): Promise<void> {
    while (await this.#ffmpeg.read());
    checkNotKilled(await this.#ffmpeg.closed, this.#file);
  }

  dispose(): Promise<void> {
    return this.#ffmpeg.dispose();
  }
}

/** Each run picks its frames and makes their pictures; several are joined end to end. */
function filterGraph(source: Source, table: FrameTable, runs: readonly Run[], pipeline: FramePipeline): string {
  const { num, den } = table.timeBase;
  const chains = runs.map(({ frames }, i) => {
    const last = frames.at(-1)!;
    const pick =
      table.by === 'time'
        ? [
            `trim=end_pts=${table.pts[last]! + 1}`,
            selection(
              'pts',
              frames.map((frame) => table.pts[frame]!),
            ),
          ]
        : [`trim=end_frame=${last + 1}`, selection('n', frames)];
    const filters = [`settb=expr=${num}/${den}`, ...pick, ...pipeline.filters, 'setsar=1', `showinfo@run${i}`];
    return `[${i}:${source.stream}]${filters.join(',')}`;
  });
  if (chains.length === 1) return `${chains[0]}[out]`;
  const outs = chains.map((_, i) => `[r${i}]`);
  const joined = `${outs.join('')}concat=n=${chains.length}:v=1:a=0,setpts=N,showinfo@joined[out]`;
  return [...chains.map((chain, i) => chain + outs[i]), joined].join(';');
}

/** A filter that passes the frames whose `variable` is among the rising `values`. */
function selection(variable: string, values: readonly number[]): string {
  return `select='${isAmong(variable, values)}'`;
}

/** By bisection: ffmpeg gives up on sums of more than about a hundred terms, and this is quicker too. */
function isAmong(variable: string, values: readonly number[]): string {
  if (values.length <= 8) return values.map((value) => `eq(${variable},${value})`).join('+');
  const middle = values.length >> 1;
  const [below, above] = [values.slice(0, middle), values.slice(middle)];
  return `if(lt(${variable},${values[middle]}),${isAmong(variable, below)},${isAmong(variable, above)})`;
}
