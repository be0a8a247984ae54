// What is copied on a video's way, counted in a process of its own: bench/copies/count.mjs. Wants g++ and Linux.
import { expect, test } from 'vitest';
import { runNode } from '../kernels/childProcess.js';

type Row = { who: string; count: number; bytes: number; sizes: [bytes: number, times: number][] };
type Counted = {
  sizes: Record<'frames' | 'patches' | 'tokens' | 'embeddings', number>;
  parts: Record<'frame' | 'segments' | 'segmentTokens', number>;
  steps: { name: string; copies: Row[]; memory: Row[] }[];
};

const of = (rows: Row[], who: string): Row =>
  rows.find((row) => row.who === who) ?? { who, count: 0, bytes: 0, sizes: [] };
const timesOf = (row: Row, bytes: number) => row.sizes.find(([size]) => size === bytes)?.[1] ?? 0;

test.runIf(process.platform === 'linux')(
  "frames are copied once, and a segment's tokens; tokens once for the projector; embeddings never by this package",
  async () => {
    // Smaller ones are Node's own, and class tokens.
    const { code, stdout, stderr } = await runNode(
      ['bench/copies/count.mjs', '--json', '--frames', '40', '--from', '5000'],
      // Nothing of the test runner's.
      { NODE_OPTIONS: '' },
    );
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const { sizes, parts, steps } = JSON.parse(stdout) as Counted;
    const { frames, patches, tokens, embeddings } = sizes;
    // What is looked for is larger than what frames vary by.
    for (const bytes of [patches, tokens, embeddings]) expect(bytes).toBeGreaterThan(2 * parts.frame);
    expect(steps.map(({ name }) => name)).toEqual(['ffmpeg, tower, reducer', 'projector', 'projector, language model']);
    for (const { copies, name } of steps) expect(of(copies, 'addon').bytes, name).toBe(0);
    const [encoding, projecting, chatting] = steps as [Counted['steps'][0], Counted['steps'][0], Counted['steps'][0]];

    // Frames from the pipe into segments, the last of a segment for the next, and the tokens of a segment into the features. What
    // Node's streams join before is theirs.
    const own = of(encoding.copies, 'JavaScript').bytes - of(encoding.memory, 'JavaScript, Buffer').bytes;
    const due = frames + (parts.segments - 1) * parts.frame + parts.segments * parts.segmentTokens;
    expect(Math.abs(own - due)).toBeLessThanOrEqual(parts.frame);
    // Arrays that a loop could copy to: none for all frames or patches, and none for a segment's patches, which are reused.
    const arrays = of(encoding.memory, 'JavaScript');
    for (const bytes of [frames, patches]) expect(timesOf(arrays, bytes)).toBe(0);
    // A read of Node's may be as long by chance.
    expect(timesOf(arrays, patches / parts.segments)).toBeLessThan(parts.segments);
    expect(timesOf(arrays, frames / parts.segments)).toBe(parts.segments);

    const projected = of(projecting.copies, 'JavaScript');
    expect(projected.sizes).toEqual([[tokens, 1]]);
    expect(of(projecting.memory, 'JavaScript').bytes).toBe(tokens + embeddings);
    // As before, and llama.cpp's copy of embeddings into its batch.
    expect(of(chatting.copies, 'JavaScript').sizes).toEqual([[tokens, 1]]);
    expect(timesOf(of(chatting.copies, 'llama.cpp'), embeddings)).toBe(1);
  },
  180_000,
);
