// The attention of vision towers, which reducers rank tokens by, against transformers; and what comes of it in the product.
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Float32Tensor, float32Tensor } from '../../dist/base/tensor.js';
import { GraphBuilder } from '../../dist/compute/graphBuilder.js';
import { ortRuntime } from '../../dist/compute/runtime.js';
import { samplingIdentity } from '../../dist/encode/sampling.js';
import { LongVLM, type SamplingRequest, VideoFeatures, type VideoReducer } from '../../dist/index.js';
import { fastVid, flashVid } from '../../dist/kernels/index.js';
import { openTower } from '../../dist/tower/families.js';
import { mlpPooled } from '../../dist/tower/siglip/connectors.js';
import { Tower } from '../../dist/tower/tower.js';
import { internvl, pico, picoOptions, relativeError } from '../fixtures/index.js';
import { geluClip, geluClipExpected, temporaryFolder, tensorOf } from '../fixtures/vision/index.js';

const here = (path: string) => fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url));
const expected = (name: string) => tensorOf(here('attention.safetensors'), name);
const folder = await temporaryFolder();

/** The attention that a tower's graph gives for normalised pixels, and what it calls it. */
async function attentionOf(path: string, pixels: Float32Tensor) {
  const source = await openTower(path);
  const graph = await source.graph({ input: 'float32', attention: true });
  const session = await ortRuntime({ threads: 1 }).open(graph, { name: 'The tower' });
  try {
    const dims = [pixels.dims[0]!, source.config.patches];
    const output = float32Tensor(new Float32Array(dims[0]! * dims[1]!), dims);
    const { attention } = await session.run({ pixels }, { attention: output });
    return { attention, kind: source.config.attention, tensors: source.attentionTensors };
  } finally {
    await session.dispose();
  }
}

describe("attention is transformers'", () => {
  test("of CLIP's class token, in the layer that patches come from", async () => {
    const { attention, kind } = await attentionOf(geluClip, await tensorOf(geluClipExpected, 'pixels'));
    expect(kind).toBe('cls');
    expect(relativeError(attention.data, (await expected('clip')).data)).toBeLessThan(1e-5);
  });

  test.each([
    ['internvl', 'hub'],
    // With queries and keys that are normalised.
    ['six', 'six'],
  ])("of %s's class token, the mean over the patches of a token", async (name, of) => {
    const path = here(`towers/internvl/${of}`);
    const { attention, kind } = await attentionOf(path, await tensorOf(internvl.expected, 'pixels'));
    expect(kind).toBe('cls');
    expect(attention.dims).toEqual([2, 9]);
    expect(relativeError(attention.data, (await expected(name)).data)).toBeLessThan(1e-5);
  });

  test.each([
    ['siglip -1', { model_type: 'siglip_vision_model' }],
    ['siglip -2', { model_type: 'llava', vision_feature_layer: -2, vision_feature_select_strategy: 'full' }],
  ])("of SigLIP's pooling head: %s", async (name, config) => {
    const vision = {
      ...{ model_type: 'siglip_vision_model', hidden_size: 16, intermediate_size: 32, num_hidden_layers: 3 },
      ...{ num_attention_heads: 2, image_size: 8, patch_size: 4 },
    };
    const path = join(folder, name);
    await mkdir(path);
    const whole = config.model_type === 'llava' ? { ...config, vision_config: vision } : { ...vision, ...config };
    await writeFile(join(path, 'config.json'), JSON.stringify(whole));
    await copyFile(here('siglip/model.safetensors'), join(path, 'model.safetensors'));
    const pixels = await tensorOf(here('siglip/expected.safetensors'), 'pixels');
    const { attention, kind, tensors } = await attentionOf(path, pixels);
    expect(kind).toBe('pooling');
    expect(relativeError(attention.data, (await expected(name)).data)).toBeLessThan(1e-5);
    expect(tensors).toHaveLength(7);
  });
});

test("a pooled frame's attention is pooled as its tokens are", async () => {
  const of = (name: string) => tensorOf(here('siglip/expected.safetensors'), name);
  const [grid, pooled] = [await of('grid 5'), await of('pooled 5')];
  const affine = { weight: { name: 'none', shape: [1, 1] } } as never;
  const connector = mlpPooled(5, { up: affine, down: affine, activation: 'gelu' });
  const graph = new GraphBuilder('pooling');
  graph.output('attention', connector.pool!(graph, graph.input('values', ['frames', 25])), ['frames', 9]);
  const session = await ortRuntime({ threads: 1 }).open(await graph.build(), { name: 'Pooling' });
  const channel = (data: Float32Array) => data.filter((_, at) => at % 3 === 1);
  const values = float32Tensor(channel(grid.data), [1, 25]);
  const { attention } = await session.run({ values }, { attention: float32Tensor(new Float32Array(9), [1, 9]) });
  expect(relativeError(attention.data, channel(pooled.data))).toBeLessThan(1e-5);
  await session.dispose();
});

describe('in the product', () => {
  // pico: 20 frames of 4 by 4 patches with 64 channels.
  const [F, N, C] = [20, 16, 64];
  let vlm: LongVLM;
  beforeAll(async () => {
    vlm = await LongVLM.load(picoOptions);
  });
  afterAll(() => vlm.dispose());
  const encode = (sampling: SamplingRequest) => vlm.encode(pico.video, { sampling });

  /** All tokens of the video with the attention that they get, as a reducer is given both. */
  async function seen(): Promise<{ tokens: Float32Tensor; attention: Float32Tensor }> {
    const [tokens, attention] = [new Float32Array(F * N * C), new Float32Array(F * N)];
    const reduction: VideoReducer = {
      ...{ name: 'seeing', id: 'seeing', scope: 'video', attention: 'cls', count: () => 1, check: () => {} },
      start() {
        let filled = 0;
        return {
          async add(given, paid) {
            tokens.set(given.data, filled * C);
            attention.set(paid!.data, filled);
            filled += paid!.data.length;
          },
          finish: async () => ({
            tokens: float32Tensor(new Float32Array(C), [1, C]),
            sizes: float32Tensor(Float32Array.of(1), [1]),
            positions: Int32Array.of(0),
          }),
        };
      },
    };
    await encode({ reduction });
    return { tokens: float32Tensor(tokens, [F, N, C]), attention: float32Tensor(attention, [F, N]) };
  }

  test("fastvid and flashvid rank by the class token's attention, and say so", async () => {
    const whole = await encode({ tokens: 'all' });
    const { tokens, attention } = await seen();
    // The graph that gives attention, too, gives the same tokens.
    expect(relativeError(whole.local.data, tokens.data)).toBeLessThan(1e-6);
    const sums = Array.from({ length: F }, (_, frame) =>
      attention.data.subarray(frame * N, (frame + 1) * N).reduce((sum, value) => sum + value),
    );
    // What is left of 1 is the attention to itself.
    for (const sum of sums) expect(sum).toBeGreaterThan(0.5);
    for (const sum of sums) expect(sum).toBeLessThan(1);
    const budget = { tokens: 5 + 3 * F };
    const fast = await encode({ reduction: 'fastvid', ...budget });
    const due = await fastVid(tokens, { attention, retentionRatio: 3 / N });
    expect([...fast.positions!]).toEqual([...due.indices]);
    expect(fast.local.data).toEqual(due.tokens.data);
    expect(fast.report).toMatchObject({
      attention: 'cls',
      text: expect.stringMatching(/, by the class token's attention\.$/),
    });
    const flash = await encode({ reduction: 'flashvid', ...budget });
    const merged = await flashVid(tokens, { attention, retentionRatio: 3 / N, exactBudget: true });
    expect([...flash.positions!]).toEqual([...merged.indices]);
    const file = join(folder, 'flash.safetensors');
    await flash.save(file);
    expect(await VideoFeatures.load(file)).toEqual(flash);
    const without = await encode({ reduction: 'flashvid', reductionOptions: { attention: 'div' }, ...budget });
    expect(without.report!.attention).toBe('div');
    expect([...without.positions!]).not.toEqual([...flash.positions!]);
    const plain = await flashVid(tokens, { retentionRatio: 3 / N, exactBudget: true });
    expect([...without.positions!]).toEqual([...plain.indices]);
  });

  test('is part of what features are cached by where it is used, and only there', async () => {
    const idOf = (reduction: string, attention?: string) => {
      const options = attention === undefined ? {} : { reductionOptions: { attention } };
      const { reducer } = samplingIdentity(vlm.encoder.settle({ reduction, tokens: 65, ...options })) as {
        reducer: string;
      };
      return JSON.parse(reducer.slice(reduction.length)) as object;
    };
    expect(idOf('fastvid')).toEqual({ tokens: 60, attention: 'cls' });
    expect(idOf('fastvid', 'norm')).toEqual({ tokens: 60 });
    expect(idOf('flashvid', 'auto')).toEqual({ tokens: 60, attention: 'cls' });
    expect(idOf('flashvid', 'norm')).toEqual({ tokens: 60, attention: 'norm' });
    expect(idOf('flashvid', 'none')).toEqual({ tokens: 60 });
    expect(idOf('vcast')).toEqual({ tokens: 60 });
  });

  test.each([
    ['fastvid', 'pooling', /auto, cls, as the vision tower gives no other, for attention but received 'pooling'/],
    ['fastvid', 'div', /one of auto, cls, pooling, norm for attention/],
    ['flashvid', 'x', /one of auto, cls, pooling, norm, div, none for attention/],
  ])('%s refuses attention %s', (reduction, attention, message) => {
    expect(() => vlm.encoder.settle({ reduction, reductionOptions: { attention } })).toThrow(message);
  });

  test('a reducer that asks for what the tower does not give is refused', () => {
    const reduction = {
      ...{ name: 'probing', id: 'probing', scope: 'video' as const, attention: 'pooling' as const },
      ...{ count: () => 1, check: () => {}, start: () => ({}) as never },
    };
    expect(() => vlm.encoder.settle({ reduction })).toThrow(
      /'cls', which the vision tower gives, for attention of the/,
    );
  });

  test('a tower that was disposed gives none', async () => {
    const tower = await Tower.open({ path: pico.mmproj, precision: 'float32', device: 'cpu', threads: 1, lazy: true });
    await tower.dispose();
    const { imageSize } = tower.config;
    await expect(
      tower.encodeFrames(new Uint8Array(imageSize * imageSize * 3), { attention: true }),
    ).rejects.toMatchObject({ code: 'ERR_LONGVLM_DISPOSED' });
  });
});
