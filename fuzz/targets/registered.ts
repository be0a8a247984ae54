// Towers of a family from outside, whose sizes and answers are not what their graphs and frames are: refused, or they run.
import * as longvlm from 'longvlm';
import { fixture } from '../package.js';
import type { Random } from '../random.js';
import { type Target, WrongResult } from '../target.js';

/** A graph that gives each step of frames [rows · columns, channels] whatever its frames are. */
function graphOf(given: Sizes): Promise<unknown> {
  const graph = new longvlm.GraphBuilder('registered');
  const { patches, channels } = given;
  const dims = given.framesPerStep > 1 ? ['n', given.framesPerStep, 'h', 'w', 3] : ['n', 'h', 'w', 3];
  const pixels = graph.input('pixels', dims, 'uint8');
  const count = graph.node('Shape', [pixels], { start: 0, end: 1 });
  const shape = graph.node('Concat', [count, graph.integers([patches, channels])], { axis: 0 });
  const value = graph.floats(new Float32Array([0.5]), [1]);
  graph.output('patches', graph.node('Expand', [value, shape]), ['n', patches, channels]);
  return graph.build();
}

type Sizes = { framesPerStep: number; patches: number; channels: number };

function towerOf(random: Random) {
  const odd = () => random.pick([1, 2, 3, 4, 7, 16, 4096, 1e6, 2 ** 31, 2 ** 53 - 1]);
  const maybe = (value: number, often = 0.05) => (random.chance(often) ? odd() : value);
  const isOpen = random.chance(0.5);
  const rows = 1 + random.below(3);
  const framesPerStep = random.pick([1, 1, 2, 3]);
  const rowsOfToken = random.pick([1, 2]);
  const patches = isOpen ? 64 : rows * 2;
  const config = {
    ...{ imageSize: maybe(8), patches: maybe(patches), grid: isOpen ? [1, maybe(patches)] : [maybe(rows), 2] },
    ...{
      channels: maybe(6 * rowsOfToken),
      summaries: maybe(0, 0.05),
      heads: maybe(1),
      framesPerStep: maybe(framesPerStep),
    },
    ...{ mean: [0, 0, 0], std: [1, 1, 1], rescale: 1, resize: 'squash', shortestEdge: 8 },
    ...(random.chance(0.3) && { reduction: random.pick(['pick', 'merge', 'all', 'none', 'pool']) }),
    ...(isOpen && { cell: { pixels: maybe(4), patches: maybe(2) } }),
  };
  const sizes = { width: maybe(8, 0.3), height: maybe(4, 0.3) };
  const told = random.pick<unknown>([sizes, sizes, sizes, undefined, {}, 1, { width: -4, height: 4 }]);
  return {
    config,
    ...(isOpen && { sizeOf: () => told }),
    projection: { kind: 'fuzz', width: maybe(6), rows: maybe(rowsOfToken) },
    ...{ details: {}, description: { seed: random.below(2 ** 31) }, tensors: [], linear: [] },
    graph: () => graphOf({ framesPerStep, channels: 6 * rowsOfToken, patches: isOpen ? maybe(2, 0.3) : patches }),
  };
}

const pictures = ['wide', 'tall', 'small'].map((name) => fixture(`towers/internvl/${name}.png`));

async function encode(random: Random): Promise<void> {
  const source = towerOf(random);
  longvlm.registerTower({ name: 'fuzz', open: async () => source as never });
  try {
    const encoder = await longvlm.loadVideoEncoder({
      vision: fixture('pico/clip'),
      device: 'cpu',
      threads: 1,
      lazy: true,
    });
    try {
      const steps = source.config.framesPerStep;
      const segmentFrames = Math.min(steps, 12) * random.pick([1, 2]);
      const sampling = {
        ...{ frames: segmentFrames, segmentFrames },
        ...random.pick([{ tokens: 'all' as const }, { tokens: random.pick([1, 5, 1e9]) }, { tokensPerSegment: 2 }]),
      };
      const features = await encoder.encode({ frames: [random.pick(pictures)] }, { sampling, cache: false });
      const total = features.runs.reduce((sum, { tokens }) => sum + tokens, 0);
      if (total !== features.tokenCount)
        throw new WrongResult(`runs of ${total} tokens where there are ${features.tokenCount}`);
    } finally {
      await encoder.dispose();
    }
  } finally {
    longvlm.registerTower({ name: 'fuzz', open: async () => undefined });
  }
}

export const registered: Target = {
  name: 'registered',
  ...{ batch: 100, seconds: 30, megabytes: 1500, share: 1, argumentErrors: true },
  run: (_, random) => encode(random),
};
