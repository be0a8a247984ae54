// Against transformers: Gemma 3's vision tower with its projector, and its language model, in which a picture's tokens attend to
// each other.
import { getLlama } from 'node-llama-cpp';
import { describe, expect, test } from 'vitest';
import { openSafetensors, readTensor } from '../../dist/files/safetensors.js';
import { evaluateEmbeddings, LongVLM, projectFrames } from '../../dist/index.js';
import { openTower, towerTensors } from '../../dist/tower/families.js';
import { gemma3, relativeError } from '../fixtures/index.js';
import { tensorOf } from '../fixtures/vision/index.js';

const expected = (name: string) => tensorOf(gemma3.expected, name);

describe('the projected tokens of a Gemma 3', () => {
  const difference = async (projector: string, precision: 'float32' | 'float16') => {
    const due = await expected('tokens');
    const { tokens } = await projectFrames(await expected('pixels'), { projector, threads: 1, precision });
    expect(tokens.dims).toEqual(due.dims);
    return relativeError(tokens.data, due.data);
  };

  test.each([
    ["transformers' layout", gemma3.hub],
    ['an mmproj file', gemma3.mmproj],
  ])('are those of transformers from %s', async (_, path) => {
    expect(await difference(path, 'float32')).toBeLessThan(1e-5);
    // Four times the half of a step of float16.
    expect(await difference(path, 'float16')).toBeLessThan(2e-3);
  });

  test('come of pictures that are squashed by a bilinear filter', async () => {
    for (const path of [gemma3.hub, gemma3.mmproj])
      expect((await openTower(path)).config).toMatchObject({
        ...{ resize: 'squash', filter: 'bilinear', imageSize: 42, patches: 9, grid: [3, 3], channels: 24 },
        ...{ mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
      });
  });

  test('have their tensors found in a model', async () => {
    const own = [...(await openSafetensors(`${gemma3.hub}/model.safetensors`)).tensors.keys()];
    const found = towerTensors([...own, 'language_model.model.norm.weight']);
    expect([...found].sort()).toEqual(own.sort());
  });
});

describe('the language model of a Gemma 3', () => {
  test("gives transformers' ids where pictures attend to all of themselves", async () => {
    const [{ data }, { tensors }] = [await expected('pictures'), await openSafetensors(gemma3.expected)];
    const due = [...((await readTensor(tensors.get('ids')!)) as Int32Array)];
    const llama = await getLlama({ gpu: false, build: 'never' });
    const model = await llama.loadModel({ modelPath: gemma3.llm });
    const ids = async (attention: 'full' | 'causal') => {
      const context = await model.createContext({ contextSize: 256, threads: 1 });
      const sequence = context.getSequence();
      const picture = (index: number) => {
        const values = data.slice(index * 9 * 16, (index + 1) * 9 * 16);
        return { type: 'float32', data: values, dims: [9, 16] } as const;
      };
      await sequence.evaluateWithoutGeneratingNewTokens([1, 70, 80, 90] as never);
      await evaluateEmbeddings(sequence, picture(0), { attention });
      await sequence.evaluateWithoutGeneratingNewTokens([100, 110, 120] as never);
      await evaluateEmbeddings(sequence, picture(1), { attention });
      const found: number[] = [];
      for await (const token of sequence.evaluate([140, 150] as never, { temperature: 0, yieldEogToken: true }))
        if (found.push(token) === due.length) break;
      await context.dispose();
      return found;
    };
    expect(await ids('full')).toEqual(due);
    expect(await ids('causal')).not.toEqual(due);
    await model.dispose();
    await llama.dispose();
  });

  test('is refused for a video, whose frames are not evaluated in this way yet', async () => {
    const loading = LongVLM.load({ vision: gemma3.hub, llm: gemma3.llm, device: 'cpu', threads: 1 });
    await expect(loading).rejects.toMatchObject({
      code: 'ERR_LONGVLM_UNSUPPORTED',
      message: expect.stringMatching(/attend to each other/),
    });
  });
});
