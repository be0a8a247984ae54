// Checks of the runs that a caller says a video's tokens to be.
import { types } from 'node:util';
import * as v from 'valibot';
import { finiteNumber, integer, parse, positiveNumber } from '../base/schema.js';
import { wrongValue } from '../base/validate.js';
import type { RunPlaces, VideoRuns } from '../base/videoRun.js';

const places = v.object({
  rows: integer(1),
  columns: integer(1),
  places: v.custom<Int32Array>((value) => types.isInt32Array(value), 'Int32Array'),
});

const schema = v.object({
  runs: v.pipe(
    v.array(
      v.object({
        kind: v.picklist(['global', 'segment', 'step']),
        start: finiteNumber,
        end: finiteNumber,
        times: v.pipe(v.array(finiteNumber), v.nonEmpty()),
        tokens: integer(0),
        at: v.optional(places),
      }),
    ),
    v.nonEmpty(),
  ),
  durationSeconds: finiteNumber,
  positionsPerSecond: v.optional(positiveNumber),
});

/**
 * @param count tokens of the video
 * @returns what was checked, read once
 * @throws TypeError or RangeError
 */
export function checkRuns(given: VideoRuns, count: number): VideoRuns {
  const { runs, durationSeconds, positionsPerSecond } = parse(schema, given, 'runs', 'runs.');
  const tokens = runs.reduce((sum, run) => sum + run.tokens, 0);
  if (tokens > count) wrongValue('tokens of runs', `at most the ${count} of the video`, tokens);
  for (const [index, { at, tokens }] of runs.entries())
    if (at) checkPlaces(`runs.runs[${index}].at.places`, at, tokens);
  return {
    durationSeconds,
    ...(positionsPerSecond !== undefined && { positionsPerSecond }),
    runs: runs.map(({ at, ...run }) => (at ? { ...run, at: { ...at, places: at.places.slice() } } : run)),
  };
}

function checkPlaces(name: string, { rows, columns, places }: RunPlaces, tokens: number): void {
  if (places.length !== tokens) wrongValue(`${name}.length`, String(tokens), places.length);
  for (const [index, place] of places.entries()) {
    const least = index === 0 ? 0 : places[index - 1]! + 1;
    if (place < least || place >= rows * columns)
      wrongValue(`${name}[${index}]`, `integer between ${least} and ${rows * columns - 1}`, place);
  }
}
