// Language models of every family, changed or not, with a video in runs, places and layouts that may be another family's.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LanguageModel, VideoChat, type VideoRuns } from 'longvlm';
import { fixture } from '../package.js';
import type { Random } from '../random.js';
import type { Target } from '../target.js';
import { mutateGguf } from './weights.js';

const models = ['llama', 'qwen2', 'qwen3', 'qwen3vl', 'gemma3'];
const templates = ['chat_template', 'llava_onevision', 'internvl', 'smolvlm', 'qwen3_vl', 'vicuna_v1_1', 'long_vlm_v1'];

/** Runs of a few tokens each; some of them lie. */
function runsFor(random: Random): VideoRuns {
  const [rows, columns] = [random.between(1, 3), random.between(1, 4)];
  const odd = random.chance(0.2);
  const runs = Array.from({ length: random.between(1, 4) }, (_, index) => {
    const places = Int32Array.from({ length: rows * columns }, (_, place) => place);
    const kept = random.chance(0.5) ? places : places.subarray(0, random.between(1, places.length));
    const time = odd ? random.pick([0, -1, 1e9, Number.NaN, 1e300]) : index;
    const kind = random.pick(['step', 'step', 'step', 'segment', 'global'] as const);
    return {
      ...{ kind, start: time, end: time + 1, times: [time], tokens: odd ? random.pick([0, 1, 1e9]) : kept.length },
      ...(kind === 'step' && { at: { rows, columns, places: kept } }),
    };
  });
  return { runs, durationSeconds: odd ? random.pick([0, Number.NaN, 1e12]) : runs.length };
}

async function converse(path: string, random: Random): Promise<void> {
  const model = await LanguageModel.load({ path, device: 'cpu', threads: 1, lazy: random.chance(0.5) });
  try {
    const runs = runsFor(random);
    const count = runs.runs.reduce((sum, { tokens }) => sum + tokens, random.pick([0, 0, 0, 1]));
    const dims = [Math.min(count, 200), model.inputWidth];
    const data = new Float32Array(dims[0]! * dims[1]!).fill(0.1);
    const chat = await VideoChat.create(
      model,
      { type: 'float32', data, dims },
      {
        ...{ template: random.pick(templates), contextSize: random.pick([64, 256, 512]), temperature: 0 },
        ...{ timestamps: random.chance(0.5), system: random.pick(['', 'Look.']) },
        ...(random.chance(0.9) && { runs }),
      },
    );
    try {
      for (let turn = 0; turn < 3; turn++) await chat.ask('What is there?', { maxTokens: 3 });
      if (chat.canReset) await chat.reset();
      await chat.ask('And now?', { maxTokens: 2 });
    } finally {
      await chat.dispose();
    }
  } finally {
    await model.dispose();
  }
}

export const chats: Target = {
  name: 'chats',
  ...{ batch: 50, seconds: 60, megabytes: 2500, share: 2, argumentErrors: true },
  files(random) {
    const original = fixture(`llms/${random.pick(models)}.gguf`);
    return { 'llm.gguf': random.chance(0.5) ? { link: original } : mutateGguf(readFileSync(original), random) };
  },
  run: (folder, random) => converse(join(folder, 'llm.gguf'), random),
};
