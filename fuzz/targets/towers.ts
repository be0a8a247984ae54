// Models with a vision tower and its projector, of every family, of which one file is changed: refused, or they run.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectFrames } from 'longvlm';
import { mutateJson } from '../mutate.js';
import { fixture, openTower } from '../package.js';
import type { Random } from '../random.js';
import { type Files, type Target, WrongResult } from '../target.js';
import { mutateGguf, mutateSafetensors } from './weights.js';

const folders = [
  ...['llava_onevision', 'smolvlm', 'qwen3_vl', 'gemma3/hub', 'internvl/hub', 'internvl/authors', 'internvl/six'],
  'internvl/six_authors',
];
const mmprojs = ['smolvlm', 'qwen3_vl', 'gemma3', 'internvl'].map((family) => `${family}/mmproj.gguf`);

/** Sizes that no weights fit, and switches that turn a step off, more often than other values. */
function mutateConfig(original: Buffer, random: Random): Buffer {
  const tree = JSON.parse(original.toString('utf8')) as Record<string, unknown>;
  if (random.chance(0.4)) return mutateJson(tree, random);
  const holders = [tree, ...Object.values(tree)].filter(
    (value): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value),
  );
  for (let left = random.pick([1, 1, 2, 3]); left > 0; left--) {
    const holder = random.pick(holders);
    const keys = Object.keys(holder);
    if (keys.length === 0) continue;
    const key = random.pick(keys);
    const value = holder[key];
    const sizes = [0, 1, 2, 3, 7, 13, 1000, 1e5, 1e6, 1e9, 2 ** 31, 2 ** 53, -1, 0.5, 1e-30, 1e300];
    if (typeof value === 'number')
      holder[key] = random.chance(0.5) ? random.pick(sizes) : value * random.pick([2, 0.5, 3]);
    else if (typeof value === 'boolean') holder[key] = !value;
    else if (Array.isArray(value))
      holder[key] = random.pick([[], [0], [0, 0, 0], [1e300, 1, 1], [...value, ...value], [-1, -2]]);
    else delete holder[key];
  }
  return Buffer.from(JSON.stringify(tree));
}

function folderFiles(folder: string, random: Random): Files {
  const names = readdirSync(fixture(`towers/${folder}`)).filter((name) =>
    /config\.json$|^model\.safetensors$/.test(name),
  );
  const configs = names.filter((name) => name.endsWith('.json'));
  const changed = random.chance(0.2) ? 'model.safetensors' : random.pick(configs);
  return Object.fromEntries(
    names.map((name) => {
      const path = fixture(`towers/${folder}/${name}`);
      if (name !== changed) return [name, { link: path }];
      const original = readFileSync(path);
      return [
        name,
        name === 'model.safetensors' ? mutateSafetensors(original, random) : mutateConfig(original, random),
      ];
    }),
  );
}

const sides = [1, 2, 3, 13, 16, 224, 1080, 4000, 1e5];

/** What is asked of a tower that could be opened: its graphs, its sizes, and one frame. */
async function useTower(path: string, random: Random): Promise<void> {
  const tower = await openTower(path);
  const { config } = tower;
  JSON.stringify([tower.config, tower.details, tower.description]);
  await tower.graph({ input: 'uint8' });
  const { cell, imageSize, patches, channels } = config;
  if (!tower.sizeOf || !cell) {
    if (imageSize > 512) return;
    await checkFrames(path, [1, 3, imageSize, imageSize], [1, patches, channels], undefined);
    return;
  }
  const video = { width: random.pick(sides), height: random.pick(sides), frames: random.pick([1, 2, 7, 64, 1e6]) };
  const { width, height } = tower.sizeOf(video);
  const cells = [height / cell.pixels, width / cell.pixels];
  if (!cells.every((count) => Number.isSafeInteger(count) && count > 0))
    throw new WrongResult(`${video.width}x${video.height} is shown as ${width}x${height}`);
  const side = cell.patches;
  const values = (3 * (config.framesPerStep ?? 1) * cell.pixels ** 2) / side ** 2;
  if (values * side ** 2 > 1e6) return;
  await checkFrames(path, [side * side, values], [1, 1, channels], [1, side, side]);
}

async function checkFrames(
  path: string,
  dims: number[],
  expected: readonly number[],
  grid: readonly [number, number, number] | undefined,
): Promise<void> {
  const data = new Float32Array(dims.reduce((product, size) => product * size, 1)).fill(0.5);
  const options = { projector: path, threads: 1, ...(grid && { grid }) };
  const { tokens, deepstack = [] } = await projectFrames({ type: 'float32', data, dims }, options);
  const [frames, count, width] = tokens.dims;
  if (frames !== expected[0] || count !== expected[1] || width! * (1 + deepstack.length) !== expected[2])
    throw new WrongResult(`tokens of [${tokens.dims}] where the tower says [${expected}]`);
}

const limits = { batch: 400, seconds: 30, megabytes: 1500, share: 2, argumentErrors: false } as const;

export const towerTargets: readonly Target[] = [
  {
    ...limits,
    name: 'towers',
    files: (random) => folderFiles(random.pick(folders), random),
    run: useTower,
  },
  {
    ...limits,
    name: 'towersGguf',
    files: (random) => ({
      'mmproj.gguf': mutateGguf(readFileSync(fixture(`towers/${random.pick(mmprojs)}`)), random),
    }),
    run: (folder, random) => useTower(join(folder, 'mmproj.gguf'), random),
  },
];
