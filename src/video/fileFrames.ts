import { LongVLMError } from '../base/errors.js';
import { decodeTimes, type Source } from './decode.js';
import { FrameReader } from './frameReader.js';
import type { FrameJob, FrameReading, FrameSource, OpenFramesOptions } from './frameSource.js';
import type { FrameTable } from './frameTable.js';
import { type FramePipeline, framePipeline } from './geometry.js';
import { planReads, type Run } from './plan.js';

/** The frames of a video file. */
export class FileFrames implements FrameSource {
  /**
   * @param stored Size of the pictures as stored, in pixels, and their rotation for display.
   * @param startSeconds The first timestamp of the file.
   */
  constructor(
    readonly source: Source,
    readonly table: FrameTable,
    readonly stored: { readonly width: number; readonly height: number; readonly rotation: 0 | 90 | 180 | 270 },
    readonly startSeconds: number,
  ) {}

  get length(): number {
    return this.table.length;
  }

  seconds(index: number): number {
    return this.table.seconds(index, this.startSeconds);
  }

  async open(wanted: readonly number[], options: OpenFramesOptions): Promise<FrameReading> {
    const { geometry, strategy, framesPerJob, binary = this.source.binary } = options;
    const { table, stored } = this;
    const pixels = stored.width * stored.height;
    const { jobs, ...plan } = planReads(table, wanted, { pixels, framesPerJob, strategy });
    const pipeline = framePipeline(geometry, stored);
    const source = { ...this.source, binary };
    const { width, height } = pipeline;
    const frameJobs = jobs.map((runs) => new FileFrameJob(source, table, runs, pipeline));
    const jobOf = new Map(
      jobs.flatMap((runs, job) => runs.flatMap((run) => run.frames.map((frame) => [frame, job] as const))),
    );
    return { plan, width, height, jobs: frameJobs, jobOf };
  }
}

/** Some runs of frames, from one ffmpeg. */
class FileFrameJob implements FrameJob {
  #reader: FrameReader | undefined;
  #complaint = '';

  constructor(
    readonly source: Source,
    readonly table: FrameTable,
    readonly runs: readonly Run[],
    readonly pipeline: FramePipeline,
  ) {}

  async give(index: number, target: Uint8Array, signal: AbortSignal): Promise<number | undefined> {
    signal.throwIfAborted();
    this.#reader ??= new FrameReader(this.source, this.table, this.runs, this.pipeline, signal);
    const reader = this.#reader;
    reader.keepAlive(true);
    for (;;) {
      const next = await reader.peek();
      signal.throwIfAborted();
      if (next !== undefined && next > index) return this.#nearest(index, target, signal);
      if (next === undefined || !(await reader.read(target))) {
        signal.throwIfAborted();
        await reader.finish();
        this.#complaint = reader.complaint;
        return this.#nearest(index, target, signal);
      }
      if (next === index) return index;
    }
  }

  /** Reads frame `index`, or the last one before it, from further back: a seek or the decoder left it out. */
  async #nearest(index: number, target: Uint8Array, signal: AbortSignal): Promise<number | undefined> {
    const { source, table } = this;
    if (table.by === 'count') return undefined;
    const earlier = table.seekPoint(index, 1);
    for (const seek of earlier ? [earlier, undefined] : [undefined]) {
      const { times } = await decodeTimes(source, { seek, end: table.pts[index]! + 1, absolute: true }, signal);
      const best = times.map((time) => table.indexOf(time)).reduce((a, b) => (b <= index && b > a ? b : a), -1);
      if (best < 0) continue;
      const reader = new FrameReader(source, table, [{ seek, frames: [best] }], this.pipeline, signal);
      try {
        if ((await reader.peek()) === best && (await reader.read(target))) return best;
        signal.throwIfAborted();
      } finally {
        await reader.dispose();
      }
    }
    return undefined;
  }

  fail(): never {
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `The frames of '${this.source.file.name}' cannot be decoded${this.#complaint ? `: ${this.#complaint}` : ''}. The file is damaged: copy or download it again.`,
    );
  }

  rest(): void {
    this.#reader?.keepAlive(false);
  }

  async finish(): Promise<void> {
    this.#reader?.keepAlive(true);
    await this.#reader?.finish();
  }

  async dispose(): Promise<void> {
    await this.#reader?.dispose();
  }
}
