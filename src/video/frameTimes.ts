/** Number of frames within which times may be out of order before they count as starting over. */
const DISORDER = 16;

/**
 * The times of frames, made to go on where they start over and filled in where they are unknown. Frames may be shown at equal
 * times, as in the stream.
 *
 * @param times In the order of the frames; NaN if unknown.
 * @param step The usual interval between frames, for where the times tell none.
 */
export function continuousTimes(
  times: readonly number[],
  step: number,
): { pts: Float64Array; startsOver: number; unknown: number } {
  const pts = new Float64Array(times.length);
  const first = times.findIndex((time) => !Number.isNaN(time));
  let shift = 0;
  let interval = step;
  let startsOver = 0;
  let unknown = 0;
  let last = (times[first] ?? 0) - step * (Math.max(0, first) + 1);
  for (const [i, time] of times.entries()) {
    let shown = time + shift;
    if (Number.isNaN(shown)) {
      unknown++;
      shown = last + interval;
    } else if (shown < last) {
      if (returns(times, i, last - shift)) shown = last;
      else {
        startsOver++;
        shown = last + interval;
        shift = shown - time;
      }
    } else if (i > first && shown > last && !Number.isNaN(times[i - 1])) interval = shown - last;
    last = shown;
    pts[i] = shown;
  }
  return { pts, startsOver, unknown };
}

/** Whether the times soon after frame `index` pass `limit` again. */
function returns(times: readonly number[], index: number, limit: number): boolean {
  for (let i = index + 1; i < Math.min(times.length, index + DISORDER); i++) if (times[i]! > limit) return true;
  return false;
}
