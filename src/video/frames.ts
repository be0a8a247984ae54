import { LongVLMError } from '../base/errors.js';
import {
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  checkSignal,
  checkString,
  wrongType,
  wrongValue,
} from '../base/validate.js';
import { decodeTimes, type Source } from './decode.js';
import { findFfmpeg } from './ffmpeg.js';
import { sampleFrameIndices } from './frameIndices.js';
import { FrameReader } from './frameReader.js';
import { FrameTable } from './frameTable.js';
import { checkGeometry, type FrameGeometry, type FramePipeline, framePipeline } from './geometry.js';
import { planReads, type ReadPlan, type Run } from './plan.js';
import { probeVideo, type VideoInfo } from './probe.js';

/** One short-term segment of a video. */
export type FrameSegment = {
  /** Its number, from 0. */
  readonly index: number;
  /** Pixels, red green blue from 0 to 255: row-major of shape {@link FrameSegment.dims}. They are the receiver's own. */
  readonly frames: Uint8Array;
  /** `[segmentFrames, height, width, 3]`. */
  readonly dims: readonly [number, number, number, number];
  /**
   * The number in the video of each frame. Where a damaged file does not give a wanted frame, it is that of the
   * nearest earlier one that it gives.
   */
  readonly frameIndices: readonly number[];
  /** When each frame is shown, in seconds from the start of the file. */
  readonly timestamps: readonly number[];
};

/** Options of {@link readSegments}. */
export type ReadSegmentsOptions = {
  /** How many frames to take from the video. */
  frames: number;
  /** How many frames make a segment; `frames` must be a multiple of it. */
  segmentFrames: number;
  /** The pictures that come out. */
  geometry: FrameGeometry;
  /**
   * `seek` jumps to the keyframe before each wanted frame, `through` decodes from the beginning to the last wanted
   * one, `auto` does what is cheaper. The frames are the same. Defaults to `auto`.
   */
  strategy?: 'auto' | 'seek' | 'through';
  /** Path of the ffmpeg program. Defaults to the environment's `FFMPEG_PATH`, the package ffmpeg-static, then `PATH`. */
  ffmpeg?: string;
  /** Ends the work: the iterator rejects with `signal.reason`, and ffmpeg is killed at once. */
  signal?: AbortSignal;
  /** Called after every frame. */
  onProgress?: (progress: { framesRead: number; frames: number }) => void;
  /** Called once, before anything is decoded, with how the frames will be read. */
  onPlan?: (plan: Pick<ReadPlan, 'strategy' | 'decodedFrames'>) => void;
};

/** So many ffmpeg processes run at once. */
const PARALLEL = 2;

/**
 * Takes frames evenly from a video and gives them segment by segment, as they are asked for: one segment is read
 * ahead, so that memory holds two, whatever the video's length.
 *
 * Leaving the loop, an error and an abort leave no ffmpeg behind.
 *
 * @param video A path, or what {@link probeVideo} found out.
 * @throws TypeError, RangeError at once for wrong arguments.
 * @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_VIDEO` or `ERR_LONGVLM_FFMPEG_MISSING`, when iterated.
 * @example
 * const geometry = { resize: 'crop', size: 224 } as const;
 * for await (const { frames, dims } of readSegments('talk.mp4', { frames: 100, segmentFrames: 10, geometry })) …
 */
export function readSegments(
  video: string | VideoInfo,
  options: ReadSegmentsOptions,
): AsyncGenerator<FrameSegment, void, undefined> {
  if (typeof video !== 'string' && !((video as Partial<VideoInfo> | null)?.table instanceof FrameTable))
    wrongType('video', 'path or a result of probeVideo()', video);
  if (typeof video === 'string') checkString('video', video);
  const { frames, segmentFrames, geometry, strategy, ffmpeg, signal, onProgress, onPlan } = checkObject(
    'options',
    options,
  );
  checkInteger('frames', frames, 1);
  checkInteger('segmentFrames', segmentFrames, 1);
  if (frames % segmentFrames !== 0) wrongValue('frames', `multiple of segmentFrames (${segmentFrames})`, frames);
  checkGeometry(geometry);
  if (strategy !== undefined) checkOneOf('strategy', strategy, ['auto', 'seek', 'through']);
  if (ffmpeg !== undefined) checkString('ffmpeg', ffmpeg);
  checkSignal(signal);
  if (onProgress !== undefined) checkFunction('onProgress', onProgress);
  if (onPlan !== undefined) checkFunction('onPlan', onPlan);
  return generateSegments(video, options);
}

async function* generateSegments(
  video: string | VideoInfo,
  options: ReadSegmentsOptions,
): AsyncGenerator<FrameSegment, void, undefined> {
  const { frames, segmentFrames, geometry, strategy = 'auto', ffmpeg, signal, onPlan } = options;
  signal?.throwIfAborted();
  const info = typeof video === 'string' ? await probeVideo(video, { ffmpeg, signal }) : video;
  const source = ffmpeg === undefined ? info.source : { ...info.source, binary: await findFfmpeg(ffmpeg) };
  signal?.throwIfAborted();

  const indices = sampleFrameIndices(info.frameCount, frames);
  const plan = planReads(info.table, [...new Set(indices)], {
    pixels: info.width * info.height,
    framesPerJob: Math.ceil(segmentFrames / PARALLEL),
    strategy,
  });
  onPlan?.({ strategy: plan.strategy, decodedFrames: plan.decodedFrames });
  const filler = new SegmentFiller(info, source, indices, plan, options, framePipeline(geometry, info));
  try {
    let ahead: Promise<FrameSegment> | undefined = filler.fill(0);
    for (let index = 1; ahead; index++) {
      const segment: FrameSegment = await ahead;
      ahead = index * segmentFrames < frames ? filler.fill(index) : undefined;
      ahead?.catch(() => {}); // Seen when it is asked for.
      yield segment;
      signal?.throwIfAborted();
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    await filler.dispose();
  }
}

/** Fills segments from the jobs of a plan, two jobs at a time. */
class SegmentFiller {
  readonly #abort = new AbortController();
  readonly #jobs: Job[];
  /** Which job gives the frame of a slot. */
  readonly #jobOf: number[];
  readonly #working = new Set<Promise<unknown>>();
  readonly #forward = () => this.#abort.abort(this.options.signal?.reason);
  #framesRead = 0;
  /** The last frame of the segment before, for one that begins with the same. */
  #carried: { index: number; given: number; pixels: Uint8Array } | undefined;

  constructor(
    readonly info: VideoInfo,
    source: Source,
    readonly indices: readonly number[],
    plan: ReadPlan,
    readonly options: ReadSegmentsOptions,
    readonly pipeline: FramePipeline,
  ) {
    const { table } = info;
    this.#jobs = plan.jobs.map((runs) => new Job(source, table, runs, pipeline, this.#abort.signal));
    const jobOfFrame = new Map(
      plan.jobs.flatMap((runs, job) => runs.flatMap((run) => run.frames.map((frame) => [frame, job]))),
    );
    this.#jobOf = indices.map((index) => jobOfFrame.get(index)!);
    options.signal?.addEventListener('abort', this.#forward);
  }

  fill(segment: number): Promise<FrameSegment> {
    const work = this.#fill(segment);
    this.#working.add(work);
    const done = () => void this.#working.delete(work);
    work.then(done, done);
    return work;
  }

  async #fill(segment: number): Promise<FrameSegment> {
    const { segmentFrames } = this.options;
    const { width, height } = this.pipeline;
    const size = width * height * 3;
    const first = segment * segmentFrames;
    const pixels = allocate(segmentFrames * size, this.info.path);
    const given: number[] = new Array(segmentFrames);

    // Slots that one job gives, one after the other.
    const parts: number[][] = [];
    for (let slot = first; slot < first + segmentFrames; slot++)
      if (slot > first && this.#jobOf[slot] === this.#jobOf[slot - 1]) parts.at(-1)!.push(slot);
      else parts.push([slot]);

    const fillPart = async (slots: number[]) => {
      const job = this.#jobs[this.#jobOf[slots[0]!]!]!;
      let before = slots[0] === first ? this.#carried : undefined;
      for (const slot of slots) {
        const index = this.indices[slot]!;
        const place = pixels.subarray((slot - first) * size, (slot - first + 1) * size);
        const got = before?.index === index ? before.given : await job.give(index, place);
        if (before && (before.index === index || got === undefined)) place.set(before.pixels);
        before = { index, given: got ?? before?.given ?? job.fail(), pixels: place };
        given[slot - first] = before.given;
        this.options.onProgress?.({ framesRead: ++this.#framesRead, frames: this.indices.length });
      }
      const last = slots.at(-1)!;
      if (last === first + segmentFrames - 1)
        this.#carried =
          this.#jobOf[last + 1] === this.#jobOf[last] ? { ...before!, pixels: before!.pixels.slice() } : undefined;
      if (this.#jobOf[last + 1] === this.#jobOf[last]) job.rest();
      else await job.finish();
    };
    const worker = async () => {
      for (let slots = parts.shift(); slots; slots = parts.shift()) await fillPart(slots);
    };
    await Promise.all(Array.from({ length: PARALLEL }, worker));

    const { table, startSeconds } = this.info;
    return {
      index: segment,
      frames: pixels,
      dims: [segmentFrames, height, width, 3],
      frameIndices: given,
      timestamps: given.map((index) => table.seconds(index, startSeconds)),
    };
  }

  /** Ends all that runs and waits until it is gone. */
  async dispose(): Promise<void> {
    this.options.signal?.removeEventListener('abort', this.#forward);
    this.#abort.abort();
    await Promise.allSettled(this.#jobs.map((job) => job.dispose()));
    await Promise.allSettled(this.#working);
  }
}

function allocate(bytes: number, path: string): Uint8Array {
  try {
    return new Uint8Array(bytes);
  } catch (error) {
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `A segment of '${path}' takes ${bytes} bytes, more than can be had. Take fewer frames in a segment, or smaller pictures.`,
      { cause: error },
    );
  }
}

/** The frames of one ffmpeg process, which starts when the first is asked for. */
class Job {
  #reader: FrameReader | undefined;
  #complaint = '';

  constructor(
    readonly source: Source,
    readonly table: FrameTable,
    readonly runs: readonly Run[],
    readonly pipeline: FramePipeline,
    readonly signal: AbortSignal,
  ) {}

  /**
   * Writes frame `index` to `target`; frames are to be asked for in rising order.
   *
   * @returns The frame written: where the file does not give it, the nearest earlier one; undefined when none was.
   */
  async give(index: number, target: Uint8Array): Promise<number | undefined> {
    this.signal.throwIfAborted();
    this.#reader ??= new FrameReader(this.source, this.table, this.runs, this.pipeline, this.signal);
    const reader = this.#reader;
    reader.keepAlive(true);
    for (;;) {
      const next = await reader.peek();
      this.signal.throwIfAborted();
      if (next !== undefined && next > index) return this.#nearest(index, target);
      if (next === undefined || !(await reader.read(target))) {
        this.signal.throwIfAborted();
        await reader.finish();
        this.#complaint = reader.complaint;
        return this.#nearest(index, target);
      }
      if (next === index) return index;
    }
  }

  /** Reads frame `index`, or the last one before it, from further back: a seek or the decoder left it out. */
  async #nearest(index: number, target: Uint8Array): Promise<number | undefined> {
    const { source, table, signal } = this;
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

  /** @throws LongVLMError always: not even an earlier frame can be read. */
  fail(): never {
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `The frames of '${this.source.path}' cannot be decoded${this.#complaint ? `: ${this.#complaint}` : ''}. The file is damaged: copy or download it again.`,
    );
  }

  /** Lets Node exit while nobody asks for the next frame. */
  rest(): void {
    this.#reader?.keepAlive(false);
  }

  /** After the last frame. */
  async finish(): Promise<void> {
    this.#reader?.keepAlive(true);
    await this.#reader?.finish();
  }

  async dispose(): Promise<void> {
    await this.#reader?.dispose();
  }
}
