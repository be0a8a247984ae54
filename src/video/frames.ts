import { basename } from 'node:path';
import { linkedController } from '../base/abort.js';
import { generateWithCallbacks } from '../base/callbacks.js';
import { LongVLMError } from '../base/errors.js';
import { readOptions } from '../base/options.js';
import type { OnProgress } from '../base/progress.js';
import {
  checkFunction,
  checkOneOf,
  checkSignal,
  checkString,
  isCallable,
  isReadable,
  wrongType,
} from '../base/validate.js';
import { findFfmpeg } from './ffmpeg.js';
import type { FrameReading } from './frameSource.js';
import { checkGeometry, type FrameGeometry } from './geometry.js';
import type { ReadPlan } from './plan.js';
import { probeVideo, type VideoInfo } from './probe.js';
import { checkSelection, type SelectFramesOptions, selectFrames, selectionNames } from './selection.js';

/** One short-term segment of a video. */
export type FrameSegment = {
  /** Its number, from 0. */
  readonly index: number;
  /** RGB pixels from 0 to 255, row-major, of shape {@link FrameSegment.dims}. The caller owns the memory. */
  readonly frames: Uint8Array;
  /** `[segmentFrames, height, width, 3]`. */
  readonly dims: readonly [number, number, number, number];
  /**
   * Index in the video of each frame. If a wanted frame of a damaged file cannot be decoded, this is the index of the nearest
   * earlier frame, which is used instead.
   */
  readonly frameIndices: readonly number[];
  /** Presentation time of each frame, in seconds from the start of the file. */
  readonly timestamps: readonly number[];
};

/** Options of {@link readSegments}. */
export type ReadSegmentsOptions = SelectFramesOptions & {
  /** Size and shape of the resulting pictures. */
  geometry: FrameGeometry;
  /**
   * `seek` jumps to the keyframe before each wanted frame, `through` decodes from the beginning to the last wanted frame, `auto`
   * takes the cheaper way. All give the same frames. Defaults to `auto`.
   */
  strategy?: 'auto' | 'seek' | 'through';
  /** Path of the ffmpeg program. Defaults to the environment's `FFMPEG_PATH`, the package ffmpeg-static, then `PATH`. */
  ffmpeg?: string;
  /** Aborts the work: the iterator rejects with `signal.reason`, and ffmpeg is killed at once. */
  signal?: AbortSignal | null;
  /** Called after every frame, with the stage `encode` and frames as the unit. */
  onProgress?: OnProgress;
  /** Called once, before anything is decoded, with the chosen strategy and the expected number of decoded frames. */
  onPlan?: (plan: Pick<ReadPlan, 'strategy' | 'decodedFrames'>) => void;
};

/** Number of ffmpeg processes that run concurrently. */
const PARALLEL = 2;

/**
 * Samples frames evenly from a video and yields them segment by segment. One segment is read ahead, so memory holds two
 * segments, whatever the video's length.
 *
 * All ffmpeg processes have exited after the loop, also after `break`, an error or an abort.
 *
 * @param video A path, or the result of {@link probeVideo}.
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
  if (
    typeof video !== 'string' &&
    !(isReadable(video) && isReadable(video.frameSource) && isCallable(video.frameSource.open))
  )
    wrongType('video', 'path or a result of probeVideo()', video);
  if (typeof video === 'string') checkString('video', video);
  const read = checkReadOptions(options);
  return generateWithCallbacks(read, ['onProgress', 'onPlan'], (guarded) => generateSegments(video, guarded));
}

const optionNames = [
  ...selectionNames,
  ...(['geometry', 'strategy', 'ffmpeg', 'signal', 'onProgress', 'onPlan'] as const),
];

/**
 * @returns the options, each read once
 * @throws TypeError or RangeError if `options` are not valid {@link ReadSegmentsOptions}
 */
export function checkReadOptions(options: ReadSegmentsOptions): ReadSegmentsOptions {
  const read = readOptions(options, optionNames) as ReadSegmentsOptions;
  const { geometry, strategy, ffmpeg, signal, onProgress, onPlan } = read;
  checkSelection(read);
  checkGeometry(geometry);
  if (strategy !== undefined) checkOneOf('strategy', strategy, ['auto', 'seek', 'through']);
  if (ffmpeg !== undefined) checkString('ffmpeg', ffmpeg);
  checkSignal(signal);
  if (onProgress !== undefined) checkFunction('onProgress', onProgress);
  if (onPlan !== undefined) checkFunction('onPlan', onPlan);
  return read;
}

async function* generateSegments(
  video: string | VideoInfo,
  options: ReadSegmentsOptions,
): AsyncGenerator<FrameSegment, void, undefined> {
  const { segmentFrames, geometry, strategy = 'auto', ffmpeg, onPlan } = options;
  const signal = checkSignal(options.signal);
  signal?.throwIfAborted();
  const info = typeof video === 'string' ? await probeVideo(video, { ffmpeg, signal }) : video;
  const binary = ffmpeg === undefined ? undefined : await findFfmpeg(ffmpeg);
  signal?.throwIfAborted();

  const { indices, segments } = selectFrames(info, options);
  checkString('video.path', info.path);
  const framesPerJob = Math.ceil(segmentFrames / PARALLEL);
  const wanted = [...new Set(indices)];
  const reading = await info.frameSource.open(wanted, { geometry, strategy, framesPerJob, binary, signal });
  onPlan?.(reading.plan);
  const filler = new SegmentFiller(info, indices, reading, options);
  try {
    let ahead: Promise<FrameSegment> | undefined = filler.fill(0);
    for (let index = 1; ahead; index++) {
      const segment: FrameSegment = await ahead;
      ahead = index < segments ? filler.fill(index) : undefined;
      ahead?.catch(() => {}); // The error is thrown when this segment is requested.
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

/** Fills segments with frames from jobs, two jobs at a time. */
class SegmentFiller {
  readonly #abort: AbortController;
  readonly #unlink: () => void;
  /** Index of the job for each slot. */
  readonly #jobOf: number[];
  readonly #working = new Set<Promise<unknown>>();
  #framesRead = 0;
  /** The last frame of the previous segment, in case the next segment starts with the same frame. */
  #carried: { index: number; given: number; pixels: Uint8Array } | undefined;

  constructor(
    readonly info: VideoInfo,
    readonly indices: readonly number[],
    readonly reading: FrameReading,
    readonly options: ReadSegmentsOptions,
  ) {
    this.#jobOf = indices.map((index) => reading.jobOf.get(index)!);
    const { controller, unlink } = linkedController(options.signal);
    this.#abort = controller;
    this.#unlink = unlink;
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
    const { width, height, jobs } = this.reading;
    const { signal } = this.#abort;
    const size = width * height * 3;
    const first = segment * segmentFrames;
    const pixels = allocate(segmentFrames * size, this.info.path);
    const given: number[] = new Array(segmentFrames);

    // Groups of consecutive slots that the same job fills.
    const groups: number[][] = [];
    for (let slot = first; slot < first + segmentFrames; slot++)
      if (slot > first && this.#jobOf[slot] === this.#jobOf[slot - 1]) groups.at(-1)!.push(slot);
      else groups.push([slot]);

    const fillGroup = async (slots: number[]) => {
      const job = jobs[this.#jobOf[slots[0]!]!]!;
      let before = slots[0] === first ? this.#carried : undefined;
      for (const slot of slots) {
        const index = this.indices[slot]!;
        const place = pixels.subarray((slot - first) * size, (slot - first + 1) * size);
        const got = before?.index === index ? before.given : await job.give(index, place, signal);
        if (before && (before.index === index || got === undefined)) place.set(before.pixels);
        before = { index, given: got ?? before?.given ?? job.fail(), pixels: place };
        given[slot - first] = before.given;
        this.#framesRead++;
        this.options.onProgress?.({
          stage: 'encode',
          done: this.#framesRead,
          total: this.indices.length,
          unit: 'frames',
          name: basename(this.info.path),
        });
      }
      const last = slots.at(-1)!;
      if (last === first + segmentFrames - 1)
        this.#carried =
          this.#jobOf[last + 1] === this.#jobOf[last] ? { ...before!, pixels: before!.pixels.slice() } : undefined;
      if (this.#jobOf[last + 1] === this.#jobOf[last]) job.rest();
      else await job.finish();
    };
    const worker = async () => {
      for (let slots = groups.shift(); slots; slots = groups.shift()) await fillGroup(slots);
    };
    await Promise.all(Array.from({ length: PARALLEL }, worker));

    const { frameSource } = this.info;
    return {
      index: segment,
      frames: pixels,
      dims: [segmentFrames, height, width, 3],
      frameIndices: given,
      timestamps: given.map((index) => frameSource.seconds(index)),
    };
  }

  /** Kills all running processes and waits for their exit. */
  async dispose(): Promise<void> {
    this.#unlink();
    this.#abort.abort();
    await Promise.allSettled(this.reading.jobs.map((job) => job.dispose()));
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
