import type { FfmpegBinary } from './ffmpeg.js';
import type { FrameGeometry } from './geometry.js';
import type { ReadPlan } from './plan.js';

/** A source of a video's frames: a file, or a list of pictures. */
export interface FrameSource {
  /** How many frames there are. */
  readonly length: number;
  /** Presentation time of frame `index`, in seconds from the start of the file. */
  seconds(index: number): number;
  /**
   * Prepares to read frames.
   *
   * @param wanted Distinct frame indices, ascending.
   */
  open(wanted: readonly number[], options: OpenFramesOptions): Promise<FrameReading>;
}

/** Options of {@link FrameSource.open}. */
export type OpenFramesOptions = {
  readonly geometry: FrameGeometry;
  readonly strategy: 'auto' | 'seek' | 'through';
  /** Preferred number of frames for one process. */
  readonly framesPerJob: number;
  /** The ffmpeg that decodes. Defaults to the one that probed the video. */
  readonly binary?: FfmpegBinary;
  readonly signal?: AbortSignal;
};

/** How wanted frames are read: each job reads some of them. */
export type FrameReading = {
  readonly plan: Pick<ReadPlan, 'strategy' | 'decodedFrames'>;
  /** Size of the pictures, in pixels. */
  readonly width: number;
  readonly height: number;
  readonly jobs: readonly FrameJob[];
  /** Index of the job that reads a frame, by frame index. */
  readonly jobOf: ReadonlyMap<number, number>;
};

/** Reads some frames of a video with one process at a time. The process starts when the first frame is requested. */
export interface FrameJob {
  /**
   * Writes frame `index` to `target`. Frames must be requested in ascending order.
   *
   * @param signal The same for every frame.
   * @returns The index of the written frame: if frame `index` cannot be decoded, the nearest earlier one; undefined if none can.
   */
  give(index: number, target: Uint8Array, signal: AbortSignal): Promise<number | undefined>;
  /** Reports that not even an earlier frame can be read. @throws LongVLMError always */
  fail(): never;
  /** Lets Node exit while no frame is requested. */
  rest(): void;
  /** After the last frame: waits for the process to exit. @throws LongVLMError when the process was killed */
  finish(): Promise<void>;
  /** Kills the process and waits for its exit. */
  dispose(): Promise<void>;
}
