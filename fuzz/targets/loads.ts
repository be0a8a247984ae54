// A whole LongVLM of which one file is changed: it is refused, or it answers.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LongVLM, VideoFeatures } from 'longvlm';
import { mutateBytes, mutateJson } from '../mutate.js';
import { fixture } from '../package.js';
import type { Random } from '../random.js';
import type { Files, Target } from '../target.js';
import { mutateGguf, mutateSafetensors } from './weights.js';

type Change = (original: Buffer, random: Random) => Buffer;
const json: Change = (original, random) => mutateJson(JSON.parse(original.toString('utf8')), random);
const parts: readonly { readonly path: string; readonly change: Change; readonly often: number }[] = [
  { path: 'clip/config.json', change: json, often: 2 },
  { path: 'clip/preprocessor_config.json', change: json, often: 1 },
  { path: 'clip/model.safetensors', change: mutateSafetensors, often: 2 },
  { path: 'projector.safetensors', change: mutateSafetensors, often: 2 },
  { path: 'mm_projector.bin', change: mutateBytes, often: 1 },
  { path: 'mmproj.gguf', change: mutateGguf, often: 2 },
  { path: 'llm.gguf', change: mutateGguf, often: 6 },
];
const weighted = parts.flatMap((part) => Array.from({ length: part.often }, () => part));

function files(random: Random): Files {
  const { path: changed, change } = random.pick(weighted);
  return Object.fromEntries(
    parts.map(({ path }) => {
      const original = fixture(`pico/${path}`);
      if (path !== changed) return [path, { link: original }];
      // Which file is used follows from which is changed: the changed one alone is no link.
      return [path, change(readFileSync(original), random)];
    }),
  );
}

const sampling = { frames: 8, segmentFrames: 4, tokensPerSegment: 6, globalLayers: 3 } as const;

function featuresOf(vlm: LongVLM): VideoFeatures {
  const { channels } = vlm.encoder.config;
  const tensor = (...dims: number[]) => ({
    type: 'float32' as const,
    data: new Float32Array(dims.reduce((product, size) => product * size, 1)).fill(0.1),
    dims,
  });
  return new VideoFeatures({
    ...{ local: tensor(2, 6, channels), global: tensor(3, channels), sizes: tensor(2, 6) },
    timestamps: new Float32Array(8),
    sampling: { ...sampling, resize: 'crop', reduction: 'merge' },
    tower: vlm.encoder.identity,
    source: { name: 'video.mp4', durationSeconds: 1, frameCount: 8, width: 8, height: 8, warnings: [] },
  });
}

export const loads: Target = {
  name: 'loads',
  ...{ batch: 20, seconds: 60, megabytes: 2500, share: 3, argumentErrors: false },
  files,
  async run(folder, random) {
    const projector = join(folder, random.pick(['projector.safetensors', 'mm_projector.bin', 'mmproj.gguf']));
    const vlm = await LongVLM.load({
      ...{ vision: join(folder, 'clip'), projector, llm: join(folder, 'llm.gguf') },
      ...sampling,
      ...{ device: 'cpu', gpu: 'off', threads: 1, template: 'vicuna_v1_1', cache: false },
    });
    try {
      await vlm.ask(featuresOf(vlm), 'What is there?', { maxTokens: 3 });
    } finally {
      await vlm.dispose();
    }
  },
};
