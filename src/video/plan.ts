import type { FrameTable, SeekPoint } from './frameTable.js';

/** Frames that one decoder reads in sequence. */
export type Run = {
  /** Where decoding starts; undefined for the beginning of the file. */
  readonly seek: SeekPoint | undefined;
  /** Distinct frame indices, ascending. */
  readonly frames: readonly number[];
};

/** How wanted frames are read. */
export type ReadPlan = {
  /** `through` decodes everything from the first to the last wanted frame; `seek` jumps from one to the next. */
  readonly strategy: 'seek' | 'through';
  /** How many frames are decoded, estimated from the positions of keyframes. */
  readonly decodedFrames: number;
  /** The runs of each ffmpeg process, in order. */
  readonly jobs: readonly (readonly Run[])[];
};

/** Opening a file again takes about 40 ms. Half of this is the run's share of starting ffmpeg (Debian's loads 215 libraries). */
const OPEN_MICROSECONDS = 40_000;
/** Decoding a frame takes 0.1 ms plus 1 µs for each 700 pixels: 1.4 ms at 720p (H.264, one core). */
const FRAME_MICROSECONDS = 100;
const PIXELS_PER_MICROSECOND = 700;
/** Roughly, how long one core decodes a frame of `pixels`. */
export function decodingMicroseconds(pixels: number): number {
  return FRAME_MICROSECONDS + pixels / PIXELS_PER_MICROSECOND;
}

/** Number of frames that decoders read ahead before they output a frame. */
const DELAY = 2;
/** Maximum number of frames on one command line, which Windows limits to 32,767 characters. */
const MAX_FRAMES_PER_RUN = 1000;
/**
 * Number of runs that one process reads, to save starts of ffmpeg. More gain little and take memory: 100 frames of an hour of
 * 720p take 37 s of CPU time with 1, 32 s with 2 and 31 s with 5; one ffmpeg takes 76, 91 and 150 MiB.
 */
const MAX_RUNS_PER_JOB = 2;

/**
 * Finds the cheapest way to read `wanted`: a run continues to the next frame if decoding up to it costs less than seeking to
 * that frame's keyframe.
 *
 * @param wanted Distinct frame indices, ascending.
 * @param options.pixels Pixels of a frame: larger frames make decoding more expensive relative to seeking.
 * @param options.framesPerJob Preferred number of frames for one process if runs are short.
 * @param options.strategy `seek` and `through` force a strategy wherever possible; `auto` takes the cheaper one.
 */
export function planReads(
  table: FrameTable,
  wanted: readonly number[],
  options: { pixels: number; framesPerJob: number; strategy: 'auto' | 'seek' | 'through' },
): ReadPlan {
  const { pixels, framesPerJob, strategy } = options;
  // The cost of opening a file, as a number of decoded frames.
  const openCost = strategy === 'seek' ? 0 : OPEN_MICROSECONDS / decodingMicroseconds(pixels);
  const runs: { seek: SeekPoint | undefined; frames: number[] }[] = [];
  let decodedFrames = 0;
  let position = -1;
  for (const index of wanted) {
    const target = table.position(index);
    const run = runs.at(-1);
    const seek = strategy === 'through' ? undefined : table.seekPoint(index);
    const fresh = target - (seek?.position ?? 0) + DELAY;
    const onward = Math.max(0, target - position);
    if (run && run.frames.length < MAX_FRAMES_PER_RUN && onward <= fresh + openCost) {
      run.frames.push(index);
      decodedFrames += onward;
    } else {
      runs.push({ seek, frames: [index] });
      decodedFrames += fresh;
    }
    position = Math.max(position, target);
  }

  const jobs: Run[][] = [];
  let filled = Number.POSITIVE_INFINITY;
  for (const run of runs) {
    const job = jobs.at(-1);
    if (job && job.length < MAX_RUNS_PER_JOB && filled + run.frames.length <= framesPerJob) {
      job.push(run);
      filled += run.frames.length;
    } else {
      jobs.push([run]);
      filled = run.frames.length;
    }
  }
  return {
    strategy: runs.length > 1 && runs.at(-1)!.seek ? 'seek' : 'through',
    decodedFrames: Math.min(decodedFrames, runs.length > 1 ? Number.POSITIVE_INFINITY : table.length),
    jobs,
  };
}
