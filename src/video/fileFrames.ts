import { setImmediate } from 'node:timers/promises';
import { LongVLMError } from '../base/errors.js';
import type { Source } from './decode.js';
import { frameChain } from './frameChain.js';
import { FrameReader } from './frameReader.js';
import type { FrameReading, FrameSource, OpenFramesOptions } from './frameSource.js';
import type { FrameTable } from './frameTable.js';
import { type FramePipeline, framePipeline, type StoredPicture } from './geometry.js';
import { checkPixels, RESIZED } from './limits.js';
import { planReads, type Run } from './plan.js';
import { ReaderJob } from './readerJob.js';
import { ThroughReader } from './throughReader.js';

/** The frames of a video file. */
export class FileFrames implements FrameSource {
  /** @param startSeconds The first timestamp of the file. */
  constructor(
    readonly source: Source,
    readonly table: FrameTable,
    readonly stored: StoredPicture,
    readonly startSeconds: number,
  ) {}

  /** Whether a seek did not give the frames that decoding from the beginning gives. */
  #seeksFail = false;

  get length(): number {
    return this.table.length;
  }

  seconds(index: number): number {
    return this.table.seconds(index, this.startSeconds);
  }

  async open(wanted: readonly number[], options: OpenFramesOptions): Promise<FrameReading> {
    const { geometry, framesPerJob, binary = this.source.binary } = options;
    const { table, stored } = this;
    const strategy = this.#seeksFail ? 'through' : options.strategy;
    const pixels = stored.width * stored.height;
    const { jobs, ...plan } = planReads(table, wanted, { pixels, framesPerJob, strategy });
    const pipeline = framePipeline(geometry, stored);
    checkPixels(this.source.file, pipeline.largest, RESIZED);
    const source = { ...this.source, binary };
    const { width, height } = pipeline;
    const through = new ThroughReader(source, table, pipeline, wanted);
    const trust = new SeekTrust(() => {
      this.#seeksFail = true;
    });
    const frameJobs = jobs.map((runs) => new FileFrameJob(source, table, runs, pipeline, through, trust));
    const jobOf = new Map(
      jobs.flatMap((runs, job) => runs.flatMap((run) => run.frames.map((frame) => [frame, job] as const))),
    );
    return { plan, width, height, jobs: frameJobs, jobOf };
  }
}

/** Whether seeks in a file have been right so far. */
class SeekTrust {
  #failed = false;

  /** @param onFail Told of the first one that was not. */
  constructor(readonly onFail: () => void) {}

  get failed(): boolean {
    return this.#failed;
  }

  fail(): void {
    this.#failed = true;
    this.onFail();
  }
}

/** Some runs of frames, from one ffmpeg. */
class FileFrameJob extends ReaderJob {
  readonly #seeks: boolean;
  #reads = true;

  constructor(
    readonly source: Source,
    readonly table: FrameTable,
    readonly runs: readonly Run[],
    readonly pipeline: FramePipeline,
    readonly through: ThroughReader,
    readonly trust: SeekTrust,
  ) {
    super();
    this.#seeks = runs.some(({ seek }) => seek);
  }

  protected override open(signal: AbortSignal): FrameReader {
    const { source, table, pipeline } = this;
    const chains = this.runs.map((run) => frameChain(source, table, run, pipeline));
    return new FrameReader(source.binary, chains, pipeline, signal);
  }

  override async give(index: number, target: Uint8Array, signal: AbortSignal): Promise<number | undefined> {
    if (!this.#reads) return this.through.give(index, target, signal, false);
    if (this.#seeks && this.trust.failed) return this.replace(index, target, signal);
    const given = await super.give(index, target, signal);
    if (!this.#reads) return given;
    if (this.#seeks && this.table.landsOnKeyframes) {
      // What ffmpeg said before it wrote the frame is here after this turn of the loop.
      await setImmediate();
      if (this.complaints !== '') return this.replace(index, target, signal);
    }
    this.through.done(index);
    return given;
  }

  /** Reads frame `index`, or the last one before it, from the beginning: a seek or the decoder left it out. */
  protected override async replace(
    index: number,
    target: Uint8Array,
    signal: AbortSignal,
  ): Promise<number | undefined> {
    if (this.#seeks) this.trust.fail();
    this.#reads = false;
    await this.close();
    return this.through.give(index, target, signal, !this.#seeks);
  }

  override async dispose(): Promise<void> {
    await super.dispose();
    await this.through.dispose();
  }

  fail(): never {
    const complaint = this.through.complaint || this.complaint;
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `The frames of '${this.source.file.name}' cannot be decoded${complaint ? `: ${complaint}` : ''}. The file is damaged: copy or download it again.`,
    );
  }
}
