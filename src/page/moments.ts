// The stretches of a video that can be chosen: its segments, or parts of one that was reduced as a whole.
import type { Inspection } from '../inspect/inspection.js';

export type Moment = {
  readonly name: string;
  /** Seconds. */
  readonly start: number;
  readonly end: number;
  readonly segment: number;
  /** Its frames among those of the segment, from and to. */
  readonly from: number;
  readonly to: number;
  /** The frame that stands for it. */
  readonly thumbnail: string | undefined;
};

/** Parts of a video that was reduced as a whole. */
const parts = 20;

export function momentsOf({ segments, method }: Inspection): Moment[] {
  return segments.flatMap(({ index, start, end, frames }) => {
    const count = method.whole ? Math.min(parts, frames.length) : 1;
    const cut = (at: number) => Math.round((at * frames.length) / count);
    return Array.from({ length: count }, (_, at) => {
      const [from, to] = [cut(at), cut(at + 1)];
      return {
        name: method.whole ? `Part ${at + 1}` : `Segment ${index + 1}`,
        start: at === 0 ? start : frames[from]!.time,
        end: at === count - 1 ? end : frames[to]!.time,
        ...{ segment: index, from, to },
        thumbnail: frames[(from + to) >> 1]?.thumbnail,
      };
    });
  });
}

/** Players round the times that they are sent to. */
const tolerance = 0.002;

/** The moment at a time; the nearest one outside of all. */
export function momentAt(moments: readonly Moment[], seconds: number): number {
  const after = moments.findIndex(({ end }) => seconds + tolerance < end);
  return after < 0 ? moments.length - 1 : after;
}
