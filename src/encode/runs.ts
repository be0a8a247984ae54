// The runs of a video's tokens: which of them stand for which part of it.
import { wrongValue } from '../base/validate.js';
import type { RunPlaces, VideoRuns } from '../base/videoRun.js';

/** The tokens that a segment was reduced from: `steps` frames, or pairs of frames, of `rows` by `columns` tokens. */
export type TokenGrid = { readonly steps: number; readonly rows: number; readonly columns: number };

/** What {@link runsOf} needs of features. */
type Reduced = {
  readonly segments: number;
  readonly segmentFrames: number;
  readonly tokensPerSegment: number;
  readonly globalLayers: number;
  readonly grid: TokenGrid | undefined;
  /** [segments, tokensPerSegment]. */
  readonly positions: Int32Array | undefined;
  readonly timestamps: Float32Array;
  /** End of the range that the frames are from. */
  readonly end: number;
  readonly durationSeconds: number;
};

type Run = VideoRuns['runs'][number];

/**
 * Checks the places of picked tokens: for each segment `count` of them, ascending, among `places`.
 * @throws RangeError
 */
export function checkPositions(
  name: string,
  positions: Int32Array,
  { segments, count, places }: { segments: number; count: number; places: number },
): void {
  if (positions.length !== segments * count) wrongValue(`${name}.length`, String(segments * count), positions.length);
  for (const [index, place] of positions.entries()) {
    const least = index % count === 0 ? 0 : positions[index - 1]! + 1;
    if (place < least || place >= places)
      wrongValue(`${name}[${index}]`, `integer between ${least} and ${places - 1}`, place);
  }
}

/** Number of tokens that a segment was reduced from. */
export const tokensOf = ({ steps, rows, columns }: TokenGrid) => steps * rows * columns;

/**
 * A run for each segment; for each of its steps, where no token is a mean over several: because all were kept, or because the
 * positions of those that were picked are known. Before them one for the global tokens, if there are any.
 */
export function runsOf(reduced: Reduced): VideoRuns {
  const { segments, globalLayers, end, durationSeconds } = reduced;
  const times = Array.from(reduced.timestamps, inMilliseconds);
  const started: Omit<Run, 'end'>[] = [];
  for (let segment = 0; segment < segments; segment++)
    started.push(...(stepsOf(reduced, segment, times) ?? [segmentOf(reduced, segment, times)]));
  const runs: Run[] = started.map((run, index) => ({
    ...run,
    end: Math.max(started[index + 1]?.start ?? end, run.times.at(-1)!),
  }));
  const whole = { kind: 'global', start: times[0]!, end: runs.at(-1)!.end, times, tokens: globalLayers } as const;
  return { runs: globalLayers > 0 ? [whole, ...runs] : runs, durationSeconds };
}

/** A video whose frames are chosen: their times, and where the range ends that they are from. */
export type ChosenFrames = Pick<Reduced, 'timestamps' | 'end' | 'durationSeconds'>;

/**
 * Runs for tokens that are not there yet.
 * @param arePicked whether the tokens keep their places
 * @param chosen by default frames of ten hours, so that their times take as much text as those of nearly all videos
 */
export function expectedRuns(
  reduced: Omit<Reduced, 'positions' | keyof ChosenFrames> & { readonly grid: TokenGrid },
  arePicked: boolean,
  chosen: ChosenFrames = framesOfHours(reduced.segments * reduced.segmentFrames),
): VideoRuns {
  const { segments, tokensPerSegment, grid } = reduced;
  const spread = (index: number) =>
    Math.floor((((index % tokensPerSegment) + 0.5) * tokensOf(grid)) / tokensPerSegment);
  const positions = Int32Array.from({ length: segments * tokensPerSegment }, (_, index) => spread(index));
  return runsOf({ ...reduced, positions: arePicked ? positions : undefined, ...chosen });
}

function framesOfHours(frames: number): ChosenFrames {
  const durationSeconds = 36_000;
  const timestamps = Float32Array.from({ length: frames }, (_, index) => ((index + 0.5) * durationSeconds) / frames);
  return { timestamps, end: durationSeconds, durationSeconds };
}

/** Without what 32 bits add to a time. */
const inMilliseconds = (seconds: number) => Math.round(seconds * 1000) / 1000;

function segmentOf({ segmentFrames, tokensPerSegment }: Reduced, segment: number, all: readonly number[]) {
  const times = all.slice(segment * segmentFrames, (segment + 1) * segmentFrames);
  return { kind: 'segment', start: times[0]!, times, tokens: tokensPerSegment } as const;
}

function stepsOf(reduced: Reduced, segment: number, all: readonly number[]): Omit<Run, 'end'>[] | undefined {
  const { grid, positions, tokensPerSegment: count, segmentFrames } = reduced;
  if (grid === undefined || (positions === undefined && count !== tokensOf(grid))) return undefined;
  const { steps, rows, columns } = grid;
  const own = positions
    ? positions.subarray(segment * count, (segment + 1) * count)
    : Int32Array.from({ length: count }, (_, index) => index);
  const perStep = rows * columns;
  const frames = segmentFrames / steps;
  const runs: Omit<Run, 'end'>[] = [];
  let from = 0;
  for (let step = 0; step < steps; step++) {
    let to = from;
    while (to < count && own[to]! < (step + 1) * perStep) to++;
    const first = segment * segmentFrames + step * frames;
    const times = all.slice(first, first + frames);
    const at: RunPlaces = { rows, columns, places: own.slice(from, to).map((place) => place - step * perStep) };
    // A step of which nothing was picked has no run: its time belongs to the run before.
    if (to > from) runs.push({ kind: 'step', start: times[0]!, times, tokens: to - from, at });
    from = to;
  }
  return runs;
}
