import type { FfmpegBinary } from './ffmpeg.js';
import type { FrameGeometry } from './geometry.js';
import type { ReadPlan } from './plan.js';

/** Where the frames of a video come from: a file, or a list of pictures. */
export interface FrameSource {
  /** How many frames there are. */
  readonly length: number;
  /** When frame `index` is shown, in seconds from the start of the file. */
  seconds(index: number): number;
  /**
   * Prepares to read frames.
   *
   * @param wanted Distinct frame indices, rising.
   */
  open(wanted: readonly number[], options: OpenFramesOptions): Promise<FrameReading>;
}

/** Options of {@link FrameSource.open}. */
export type OpenFramesOptions = {
  readonly geometry: FrameGeometry;
  readonly strategy: 'auto' | 'seek' | 'through';
  /** How many frames one process shall give where that is free to choose. */
  readonly framesPerJob: number;
  /** The ffmpeg that decodes. Defaults to the one that looked at the video. */
  readonly binary?: FfmpegBinary;
  readonly signal?: AbortSignal;
};

/** How wanted frames are read: jobs that each give some of them. */
export type FrameReading = {
  readonly plan: Pick<ReadPlan, 'strategy' | 'decodedFrames'>;
  /** Size of the pictures, in pixels. */
  readonly width: number;
  readonly height: number;
  readonly jobs: readonly FrameJob[];
  /** Which of the jobs gives a wanted frame, by its index. */
  readonly jobOf: ReadonlyMap<number, number>;
};

/** Some frames of a video, from one process at a time, which starts when the first is asked for. */
export interface FrameJob {
  /**
   * Writes frame `index` to `target`; frames are to be asked for in rising order.
   *
   * @param signal The same for every frame.
   * @returns The frame written: where the file does not give it, the nearest earlier one; undefined when none was.
   */
  give(index: number, target: Uint8Array, signal: AbortSignal): Promise<number | undefined>;
  /** @throws LongVLMError always: not even an earlier frame can be read. */
  fail(): never;
  /** Lets Node exit while nobody asks for the next frame. */
  rest(): void;
  /** After the last frame: waits until the process has ended. @throws LongVLMError when something killed it */
  finish(): Promise<void>;
  /** Kills the process and waits until it is gone. */
  dispose(): Promise<void>;
}
