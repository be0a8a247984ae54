import { LongVLMError } from '../base/errors.js';
import { decoderInput, decodeTimes, type Source } from './decode.js';
import { type FrameChain, FrameReader } from './frameReader.js';
import type { FrameReading, FrameSource, OpenFramesOptions } from './frameSource.js';
import type { FrameTable } from './frameTable.js';
import { type FramePipeline, framePipeline } from './geometry.js';
import { planReads, type Run } from './plan.js';
import { ReaderJob } from './readerJob.js';

/** The frames of a video file. */
export class FileFrames implements FrameSource {
  /**
   * @param stored Stored size of the pictures in pixels, and their rotation for display.
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
class FileFrameJob extends ReaderJob {
  constructor(
    readonly source: Source,
    readonly table: FrameTable,
    readonly runs: readonly Run[],
    readonly pipeline: FramePipeline,
  ) {
    super();
  }

  protected override open(signal: AbortSignal): FrameReader {
    return this.#read(this.runs, signal);
  }

  #read(runs: readonly Run[], signal: AbortSignal): FrameReader {
    const { source, table, pipeline } = this;
    const chains = runs.map((run) => chainOf(source, table, run, pipeline));
    return new FrameReader(source.binary, chains, pipeline, signal);
  }

  /** Reads frame `index`, or the last one before it, from further back: a seek or the decoder left it out. */
  protected override async replace(
    index: number,
    target: Uint8Array,
    signal: AbortSignal,
  ): Promise<number | undefined> {
    const { source, table } = this;
    if (table.by === 'count') return undefined;
    const earlier = table.seekPoint(index, 1);
    for (const seek of earlier ? [earlier, undefined] : [undefined]) {
      const { times } = await decodeTimes(source, { seek, end: table.pts[index]! + 1, absolute: true }, signal);
      const best = times.map((time) => table.indexOf(time)).reduce((a, b) => (b <= index && b > a ? b : a), -1);
      if (best < 0) continue;
      const reader = this.#read([{ seek, frames: [best] }], signal);
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
      `The frames of '${this.source.file.name}' cannot be decoded${this.complaint ? `: ${this.complaint}` : ''}. The file is damaged: copy or download it again.`,
    );
  }
}

/** Picks the frames of a run and makes their pictures. */
function chainOf(source: Source, table: FrameTable, { seek, frames }: Run, pipeline: FramePipeline): FrameChain {
  const { num, den } = table.timeBase;
  const last = frames.at(-1)!;
  const times = () => frames.map((frame) => table.pts[frame]!);
  const pick =
    table.by === 'time'
      ? [`trim=end_pts=${table.pts[last]! + 1}`, selection('pts', times())]
      : [`trim=end_frame=${last + 1}`, selection('n', frames)];
  const counted = [...frames];
  return {
    file: source.file,
    // A decoder for one frame gains nothing from threads; two processes run at once.
    input: decoderInput(source, seek, frames.length === 1 ? 1 : undefined),
    stream: source.stream,
    filters: [`settb=expr=${num}/${den}`, ...pick, ...pipeline.filters],
    indexOf: table.by === 'time' ? (time) => table.indexOf(time) : () => counted.shift() ?? -1,
  };
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
