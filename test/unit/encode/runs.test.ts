import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { runsOf } from '../../../dist/encode/runs.js';
import { numberInWords } from '../../../dist/llm/layouts/numberInWords.js';

/** Two segments of two steps, each a pair of frames of 2 by 3 tokens. */
const reduced = {
  ...{ segments: 2, segmentFrames: 4, tokensPerSegment: 3, globalLayers: 2 },
  ...{ grid: { steps: 2, rows: 2, columns: 3 }, positions: undefined, end: 16, durationSeconds: 20 },
  timestamps: Float32Array.from([0, 2.1, 4, 6, 8, 10, 12, 14]),
};

describe('runsOf()', () => {
  test('gives a run for each segment whose tokens are means, and one for the whole video', () => {
    const times = [0, 2.1, 4, 6, 8, 10, 12, 14];
    expect(runsOf(reduced)).toEqual({
      durationSeconds: 20,
      runs: [
        { kind: 'global', start: 0, end: 16, times, tokens: 2 },
        { kind: 'segment', start: 0, end: 8, times: times.slice(0, 4), tokens: 3 },
        { kind: 'segment', start: 8, end: 16, times: times.slice(4), tokens: 3 },
      ],
    });
    expect(runsOf({ ...reduced, grid: undefined, globalLayers: 0 }).runs).toHaveLength(2);
  });

  test('gives a run for each step whose tokens were picked, with their places in it', () => {
    const positions = Int32Array.from([0, 5, 6, 7, 8, 11]);
    const { runs } = runsOf({ ...reduced, positions, globalLayers: 0 });
    const at = (...places: number[]) => ({ rows: 2, columns: 3, places: Int32Array.from(places) });
    expect(runs).toEqual([
      { kind: 'step', start: 0, end: 4, times: [0, 2.1], tokens: 2, at: at(0, 5) },
      { kind: 'step', start: 4, end: 12, times: [4, 6], tokens: 1, at: at(0) },
      // Nothing was picked of the step at 8 s.
      { kind: 'step', start: 12, end: 16, times: [12, 14], tokens: 3, at: at(1, 2, 5) },
    ]);
  });

  test('gives a run for each step where all tokens were kept', () => {
    const { runs } = runsOf({ ...reduced, tokensPerSegment: 12, globalLayers: 0 });
    expect(runs.map(({ start, tokens }) => [start, tokens])).toEqual([
      [0, 6],
      [4, 6],
      [8, 6],
      [12, 6],
    ]);
    expect(runs[3]!.at!.places).toEqual(Int32Array.from([0, 1, 2, 3, 4, 5]));
  });
});

test('numberInWords() writes numbers as num2words does', () => {
  const file = new URL('../../fixtures/layouts/expected.json', import.meta.url);
  const { words } = JSON.parse(readFileSync(file, 'utf8')) as { words: Record<string, string> };
  expect(Object.fromEntries(Object.keys(words).map((number) => [number, numberInWords(Number(number))]))).toEqual(
    words,
  );
});
