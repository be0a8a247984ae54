// Configurations beside sound weights, features files, and data sets.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readDataset, VideoFeatures } from 'longvlm';
import { mutateBytes, mutateJson, mutateTree } from '../mutate.js';
import { fixture, openTower } from '../package.js';
import type { Random } from '../random.js';
import { type Target, WrongResult } from '../target.js';
import { mutateSafetensors } from './weights.js';

const limits = { batch: 1000, seconds: 10, megabytes: 1500, share: 1, argumentErrors: false } as const;

const clip = fixture('pico/clip');
const readJson = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));

const configs: Target = {
  ...limits,
  name: 'configs',
  files(random) {
    const changed = random.pick(['config.json', 'preprocessor_config.json', 'processor_config.json']);
    const config = readJson(join(clip, 'config.json'));
    const preprocessor = readJson(join(clip, 'preprocessor_config.json'));
    const written = (name: string, value: unknown) =>
      changed === name ? mutateJson(value, random) : Buffer.from(JSON.stringify(value));
    return {
      'config.json': written('config.json', random.chance(0.5) ? config : llavaConfig(config)),
      ...(changed !== 'processor_config.json' && {
        'preprocessor_config.json': written('preprocessor_config.json', preprocessor),
      }),
      ...(changed === 'processor_config.json' && {
        'processor_config.json': written(changed, { image_processor: preprocessor, processor_class: 'LlavaProcessor' }),
      }),
      'model.safetensors': { link: join(clip, 'model.safetensors') },
    };
  },
  async run(folder) {
    const tower = await openTower(folder);
    await tower.graph({ input: 'uint8' });
    JSON.stringify([tower.config, tower.details, tower.description]);
  },
};

/** A configuration of a model that has the tower inside. */
function llavaConfig(config: unknown): unknown {
  const vision_config = (config as { vision_config?: unknown }).vision_config ?? config;
  return {
    model_type: 'llava',
    vision_config,
    vision_feature_layer: -2,
    vision_feature_select_strategy: 'default',
    projector_hidden_act: 'gelu',
    image_seq_length: 576,
  };
}

// Made by hand, as small as may be: two segments of two frames, three tokens of four channels.
function featuresFile(random: Random): Buffer {
  const sampling = {
    ...{ frames: 4, segmentFrames: 2, tokensPerSegment: 3, globalLayers: 2, resize: 'crop', reduction: 'merge' },
    ...{ mergeHeads: 2, start: 0, end: 9.5, fps: 0.4 },
  };
  const video = {
    name: 'talk.mp4',
    durationSeconds: 10,
    frameCount: 250,
    width: 640,
    height: 360,
    warnings: ['cut short'],
  };
  const isPicked = random.chance(0.5);
  const sizes = {
    ...{ local: [2, 3, 4], global: [2, 4], sizes: [2, 3], timestamps: [4] },
    ...(isPicked && { positions: [2, 3] }),
  };
  const grid = { steps: random.pick([1, 2]), rows: 2, columns: 3 };
  let end = 0;
  const tensors = Object.entries(sizes).map(([name, shape]) => {
    const start = end;
    end += 4 * shape.reduce((product, size) => product * size, 1);
    return [name, { dtype: name === 'positions' ? 'I32' : 'F32', shape, data_offsets: [start, end] }];
  });
  const record = (value: unknown) =>
    random.chance(0.4) ? mutateJson(value, random).toString('utf8') : JSON.stringify(value);
  const header = {
    __metadata__: {
      ...{ format: 'longvlm.features', format_version: '1', longvlm_version: '0.1.0', tower: 'sha256:0123' },
      sampling: record(sampling),
      video: record(video),
      ...(random.chance(isPicked ? 0.9 : 0.5) && { grid: record(grid) }),
    },
    ...Object.fromEntries(tensors),
  };
  const values = new Float32Array(end / 4).map((_, i) => i % 7);
  if (random.chance(0.1))
    values[random.below(values.length)] = random.pick([Number.NaN, Number.POSITIVE_INFINITY, -1, 1e38]);
  if (isPicked)
    for (const segment of [0, 1]) {
      const places = random.chance(0.7) ? [0, 3, 5] : [0, 1, 2].map(() => random.edge());
      new Int32Array(values.buffer).set(places, values.length - 6 + 3 * segment);
    }
  const text = Buffer.from(JSON.stringify(random.chance(0.2) ? mutateTree(header, random) : header) ?? 'null');
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = Buffer.concat([length, text, Buffer.from(values.buffer)]);
  return random.chance(0.15) ? mutateSafetensors(file, random) : file;
}

const isSize = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
const isTime = (value: unknown) => typeof value === 'number' && Number.isFinite(value) && value >= 0;

/** What programs that show and use features rely on. */
function checkFeatures(features: VideoFeatures): void {
  const { local, global, sizes, timestamps, sampling, source, tower, projector } = features;
  const wrong = (what: string, value: unknown): never => {
    throw new WrongResult(`${what} of features that could be read is ${JSON.stringify(value)}`);
  };
  for (const [name, value] of Object.entries(sampling)) {
    if (['resize', 'reduction'].includes(name)) {
      if (typeof value !== 'string') wrong(`sampling.${name}`, value);
    } else if (!isTime(value)) wrong(`sampling.${name}`, value);
  }
  for (const name of ['frames', 'segmentFrames', 'tokensPerSegment', 'globalLayers'] as const)
    if (!isSize(sampling[name])) wrong(`sampling.${name}`, sampling[name]);
  if (typeof source.name !== 'string') wrong('source.name', source.name);
  if (!isTime(source.durationSeconds)) wrong('source.durationSeconds', source.durationSeconds);
  for (const name of ['frameCount', 'width', 'height'] as const)
    if (!isSize(source[name])) wrong(`source.${name}`, source[name]);
  if (!source.warnings.every((warning) => typeof warning === 'string')) wrong('source.warnings', source.warnings);
  if (typeof tower !== 'string') wrong('tower', tower);
  if (projector !== undefined && typeof projector !== 'string') wrong('projector', projector);
  for (const tensor of [local, global, sizes])
    if (tensor.data.length !== tensor.dims.reduce((product, size) => product * size, 1)) wrong('dims', tensor.dims);
  if (timestamps.length !== sampling.frames) wrong('timestamps', timestamps.length);
  if (local.dims[0]! * sampling.segmentFrames !== sampling.frames) wrong('segments', local.dims);
  const total = features.runs.reduce((sum, { tokens }) => sum + tokens, 0);
  if (total !== features.tokenCount) wrong('tokens of runs', total);
  for (const { start: from, end: to } of features.runs)
    if (!isTime(from) || !isTime(to) || to < from) wrong('run', [from, to]);
  const { dims } = features.tokens(global.dims[0] === 0 ? 'local' : 'both');
  if (dims[0] !== features.tokenCount) wrong('tokens', dims);
}

const features: Target = {
  ...limits,
  name: 'features',
  files: (random) => ({ 'video.safetensors': featuresFile(random) }),
  run: async (folder) => checkFeatures(await VideoFeatures.load(join(folder, 'video.safetensors'))),
};

const line = {
  video: 'video.mp4',
  question: 'What comes first?',
  answer: 'A red circle.',
  kind: 'first',
  question2: 'Which is the first?',
};

const dataset: Target = {
  ...limits,
  name: 'dataset',
  files(random) {
    const lines = Array.from({ length: random.between(1, 4) }, () =>
      random.chance(0.6) ? mutateJson(line, random) : Buffer.from(JSON.stringify(line)),
    );
    const text = Buffer.concat(lines.flatMap((each) => [each, Buffer.from(random.chance(0.9) ? '\n' : '\r\n\n')]));
    return { 'questions.jsonl': random.chance(0.1) ? mutateBytes(text, random) : text, 'video.mp4': Buffer.alloc(1) };
  },
  async run(folder) {
    const { entries } = await readDataset(join(folder, 'questions.jsonl'));
    for (const { video, question, answer, kind } of entries)
      for (const value of [video, question, answer, kind])
        if (typeof value !== 'string' || value === '') throw new WrongResult(`an entry holds ${JSON.stringify(value)}`);
  },
};

export const configTargets: readonly Target[] = [configs, features, dataset];
