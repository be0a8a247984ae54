import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { float32Tensor, numberToHalf } from '../../dist/base/tensor.js';
import { GraphBuilder } from '../../dist/compute/graphBuilder.js';
import { type TensorData, writeSafetensors } from '../../dist/files/safetensors.js';
import { LongVLM } from '../../dist/longvlm.js';
import type { ProjectorFamily } from '../../dist/projector/family.js';
import { Projector } from '../../dist/projector/projector.js';
import { registerProjector } from '../../dist/projector/registry.js';
import { loadGguf, writeGguf } from '../fixtures/gguf/write.js';
import { sessionThreads } from '../fixtures/graphs.js';
import { expected, pico, picoOptions, relativeError } from '../fixtures/index.js';
import {
  convert,
  loadTensors,
  mlpProjector,
  mlpProjectorExpected,
  type Tensors,
  temporaryFolder,
  tensorOf,
} from '../fixtures/vision/index.js';

const folder = await temporaryFolder();
let files = 0;
async function written(tensors: Tensors): Promise<string> {
  const path = join(folder, `projector${files++}.safetensors`);
  await writeSafetensors(path, tensors);
  return path;
}
const zeros = (...shape: number[]): TensorData => ({
  type: 'F32',
  shape,
  data: new Float32Array(shape.reduce((product, size) => product * size, 1)),
});

/** The reference's features: global, then local of every segment. */
async function features() {
  const [global, local] = [await expected('global'), await expected('local')];
  const data = new Float32Array(global.data.length + local.data.length);
  data.set(global.data);
  data.set(local.data, global.data.length);
  return float32Tensor(data, [29, 64]);
}

describe('Projector against the reference', () => {
  test('one linear layer', async () => {
    const projector = await Projector.load(pico.projector, { threads: 2 });
    expect([projector.kind, projector.inChannels, projector.outChannels]).toEqual(['linear', 64, 64]);
    const video = await projector.project(await features());
    expect(video.dims).toEqual([29, 64]);
    expect(relativeError(video.data, (await expected('video')).data)).toBeLessThan(1e-5);
    await projector.dispose();
  });

  test('a file of PyTorch is the same as safetensors', async () => {
    const [bin, safetensors] = await Promise.all([
      Projector.load(pico.projectorBin, { threads: 1 }),
      Projector.load(pico.projector, { threads: 1 }),
    ]);
    expect([bin.kind, bin.inChannels, bin.outChannels]).toEqual(['linear', 64, 64]);
    const given = await features();
    // The one is float16, the other float32.
    expect(relativeError((await bin.project(given)).data, (await safetensors.project(given)).data)).toBeLessThan(1e-3);
    await Promise.all([bin.dispose(), safetensors.dispose()]);
  });

  test("under the names of Hugging Face's LLaVA", async () => {
    const tensors = await loadTensors(pico.projector);
    const [weight, bias] = ['weight', 'bias'].map((kind) => {
      return Object.entries(tensors).find(([name]) => name.endsWith(`mm_projector.${kind}`))![1];
    });
    const path = await written({
      'model.multi_modal_projector.linear_1.weight': weight!,
      'model.multi_modal_projector.linear_1.bias': bias!,
      'model.multi_modal_projector.linear_2.weight': weight!,
      'model.multi_modal_projector.linear_2.bias': bias!,
    });
    const projector = await Projector.load(path, { threads: 1 });
    expect(projector.kind).toBe('mlp2x_gelu');
    await projector.dispose();
  });

  test('two layers with GELU by the error function, in F16, under a prefix', async () => {
    const projector = await Projector.load(mlpProjector, { threads: 2 });
    expect([projector.kind, projector.inChannels, projector.outChannels]).toEqual(['mlp2x_gelu', 64, 64]);
    const given = await tensorOf(mlpProjectorExpected, 'features');
    const { data } = await projector.project(given);
    // GELU by the hyperbolic tangent would be off by 1.9e-4.
    expect(relativeError(data, (await tensorOf(mlpProjectorExpected, 'embeddings')).data)).toBeLessThan(1e-5);
    // The reference had these weights in F32: rounding them to F16 alone makes 3.6e-4, computed in float64.
    const video = await projector.project(await features());
    expect(relativeError(video.data, (await expected('video_mlp')).data)).toBeLessThan(5e-4);
    await projector.dispose();
  });

  test.each(['F16', 'BF16'] as const)('%s weights', async (type) => {
    const tensors = Object.entries(await loadTensors(pico.projector)).map(([name, tensor]) => [
      `model.${name}`,
      convert(tensor, type),
    ]);
    const projector = await Projector.load(await written(Object.fromEntries(tensors)));
    const error = relativeError((await projector.project(await features())).data, (await expected('video')).data);
    // Half an ulp of a weight.
    expect(error).toBeLessThan(type === 'F16' ? 2 ** -11 : 2 ** -8);
    expect(error, 'the weights were really rounded').toBeGreaterThan(type === 'F16' ? 1e-5 : 1e-4);
    await projector.dispose();
  });
});

describe('Projector', () => {
  let projector: Projector;
  beforeAll(async () => {
    // [2, 3]: out is not in, so that a transposed weight cannot pass.
    const weight: TensorData = { type: 'F32', shape: [2, 3], data: new Float32Array([1, 2, 3, 4, 5, 6]) };
    const bias: TensorData = { type: 'F32', shape: [2], data: new Float32Array([10, 20]) };
    projector = await Projector.load(await written({ 'mm_projector.weight': weight, 'mm_projector.bias': bias }));
  });
  afterAll(() => projector.dispose());

  test('computes x · weightᵀ + bias, of float16 features too, and leaves them alone', async () => {
    const values = [1, 0, 0, 0, 1, -1];
    const wanted = float32Tensor(new Float32Array([11, 24, 9, 19]), [2, 2]);
    const single = float32Tensor(new Float32Array(values), [2, 3]);
    expect(await projector.project(single)).toEqual(wanted);
    expect([...single.data]).toEqual(values);
    const half = { type: 'float16', data: Uint16Array.from(values, numberToHalf), dims: [2, 3] } as const;
    expect(await projector.project(half)).toEqual(wanted);
  });

  test('takes the features over where they are handed over', async () => {
    const given = float32Tensor(new Float32Array([1, 0, 0]), [1, 3]);
    expect([...(await projector.project(given, { transfer: true })).data]).toEqual([11, 24]);
    expect(given.data.length, 'detached').toBe(0);
    const half = { type: 'float16', data: Uint16Array.of(numberToHalf(1), 0, 0), dims: [1, 3] } as const;
    expect([...(await projector.project(half, { transfer: true })).data]).toEqual([11, 24]);
    await expect(projector.project(half, { transfer: 'yes' as never })).rejects.toMatchObject({
      name: 'TypeError',
      message: expect.stringMatching(/boolean for transfer/),
    });
  });

  test('refuses features of another width, and no features', async () => {
    await expect(projector.project(float32Tensor(new Float32Array(4), [1, 4]))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_MISMATCH',
      message: expect.stringMatching(/takes features of 3 channels but received 4/),
    });
    const call = projector.project as (features: unknown) => Promise<unknown>;
    await expect(call.call(projector, [1, 2, 3])).rejects.toMatchObject({ name: 'TypeError' });
    await expect(projector.project(float32Tensor(new Float32Array(0), [0, 3]))).rejects.toMatchObject({
      name: 'RangeError',
    });
  });

  test('rejects with the reason of an abort, and works on', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const call = projector.project(float32Tensor(new Float32Array(3), [1, 3]), { signal: controller.signal });
    controller.abort(reason);
    await expect(call).rejects.toBe(reason);
    expect([...(await projector.project(float32Tensor(new Float32Array(3), [1, 3]))).data]).toEqual([10, 20]);
  });

  test('of a lazy one tells all but its device, and starts no thread before the first call', async () => {
    const before = sessionThreads();
    const lazy = await Projector.load(pico.projector, { threads: 1, lazy: true });
    const eager = await Projector.load(pico.projector, { threads: 1 });
    expect(sessionThreads()).toBe(before + 1);
    const told = ({ kind, inChannels, outChannels, identity }: Projector) => [kind, inChannels, outChannels, identity];
    expect(told(lazy)).toEqual(told(eager));
    expect([lazy.device, eager.device]).toEqual([undefined, 'cpu']);
    const given = await features();
    expect(await lazy.project(given)).toEqual(await eager.project(given));
    expect([sessionThreads(), lazy.device]).toEqual([before + 2, 'cpu']);
    await Promise.all([lazy.dispose(), eager.dispose()]);
    await expect.poll(sessionThreads).toBe(before);
  });

  test('can be released, and starts again with the next call', async () => {
    const before = sessionThreads();
    const own = await Projector.load(pico.projector, { threads: 1 });
    const given = await features();
    const first = own.project(given);
    await own.release();
    expect([own.device, own.disposed]).toEqual([undefined, false]);
    await expect.poll(sessionThreads).toBe(before);
    expect(await own.project(given)).toEqual(await first);
    await own.dispose();
    await expect.poll(sessionThreads).toBe(before);
  });

  test('of a lazy LongVLM starts no thread', async () => {
    const before = sessionThreads();
    const vlm = await LongVLM.load({ ...picoOptions, lazy: true });
    try {
      expect(sessionThreads()).toBe(before);
      const { projector } = vlm.models;
      expect(projector).toMatchObject({ kind: 'linear', inChannels: 64, outChannels: 64 });
      expect(projector).not.toHaveProperty('device');
    } finally {
      await vlm.dispose();
    }
  });

  test('refuses calls once disposed', async () => {
    const own = await Projector.load(pico.projector);
    await own[Symbol.asyncDispose]();
    await own.dispose();
    expect(own.disposed).toBe(true);
    await expect(own.project(await features())).rejects.toMatchObject({
      code: 'ERR_LONGVLM_DISPOSED',
      message: 'The projector was disposed. Load it again.',
    });
  });

  test.each<[string, Tensors, string, RegExp]>([
    ['no projector', { weight: zeros(2, 2) }, 'ERR_LONGVLM_WEIGHTS', /tensor mm_projector\.weight is missing/],
    [
      'a missing bias',
      { 'model.mm_projector.weight': zeros(2, 2) },
      'ERR_LONGVLM_WEIGHTS',
      /tensor model\.mm_projector\.bias is missing/,
    ],
    [
      'half of an MLP',
      { 'mm_projector.0.weight': zeros(2, 2), 'mm_projector.0.bias': zeros(2) },
      'ERR_LONGVLM_WEIGHTS',
      /tensor mm_projector\.2\.weight is missing/,
    ],
    [
      'layers that do not fit together',
      {
        'mm_projector.0.weight': zeros(4, 2),
        'mm_projector.0.bias': zeros(4),
        'mm_projector.2.weight': zeros(3, 5),
        'mm_projector.2.bias': zeros(3),
      },
      'ERR_LONGVLM_WEIGHTS',
      /tensor mm_projector\.2\.weight has shape \[3, 5\] where \[any, 4\] is needed/,
    ],
    [
      'a bias of another width',
      { 'mm_projector.weight': zeros(4, 2), 'mm_projector.bias': zeros(2) },
      'ERR_LONGVLM_WEIGHTS',
      /tensor mm_projector\.bias has shape \[2\] where \[4\] is needed/,
    ],
    [
      'a deeper MLP',
      { 'mm_projector.0.weight': zeros(2, 2), 'mm_projector.4.weight': zeros(2, 2) },
      'ERR_LONGVLM_UNSUPPORTED',
      /tensor mm_projector\.4\.weight belongs to a kind of projector that is not supported/,
    ],
  ])('refuses %s', async (_, tensors, code, message) => {
    const path = await written(tensors);
    await expect(Projector.load(path)).rejects.toMatchObject({ name: 'LongVLMError', code, message });
    await expect(Projector.load(path)).rejects.toThrow(path);
  });

  test('refuses wrong options', async () => {
    const load = (options: object) => Projector.load(pico.projector, options);
    await expect(load({ lazy: 'yes' })).rejects.toMatchObject({
      name: 'TypeError',
      message: expect.stringMatching(/boolean for lazy/),
    });
    await expect(load({ threads: 0 })).rejects.toMatchObject({
      name: 'RangeError',
      message: expect.stringMatching(/integer between 1 and 1024 for threads/),
    });
    await expect(load({ onProgress: 1 })).rejects.toMatchObject({
      name: 'TypeError',
      message: expect.stringMatching(/for onProgress/),
    });
    await expect(load({ device: 'abacus' })).rejects.toMatchObject({ code: 'ERR_LONGVLM_UNSUPPORTED' });
  });

  test('refuses a missing file', async () => {
    await expect(Projector.load(join(folder, 'none'))).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
  });
});

describe('registerProjector()', () => {
  /** Multiplies each channel by a number of `toy.scale` [C]. */
  const toy = (kind: string): ProjectorFamily => ({
    name: 'toy',
    open: async ({ tensors }) => {
      const scale = tensors.get('toy.scale');
      if (!scale) return undefined;
      const channels = scale.shape[0]!;
      return {
        kind,
        inChannels: channels,
        outChannels: channels,
        tensors: [scale],
        graph: () => {
          const graph = new GraphBuilder('toy');
          const scaled = graph.node('Mul', [graph.input('features', ['tokens', channels]), graph.weight(scale)]);
          graph.output('embeddings', scaled, ['tokens', channels]);
          return graph.build();
        },
      };
    },
  });
  const scale = { type: 'F32' as const, shape: [3], data: new Float32Array([1, 10, 100]) };

  test('adds a kind of projector, which the same name replaces, and leaves the others', async () => {
    const path = await written({ 'toy.scale': scale });
    await expect(Projector.load(path)).rejects.toThrow(/tensor mm_projector\.weight is missing/);
    const identities = new Set<string>();
    for (const kind of ['toy', 'toy2']) {
      registerProjector(toy(kind));
      const projector = await Projector.load(path, { threads: 1 });
      expect([projector.kind, projector.inChannels, projector.outChannels]).toEqual([kind, 3, 3]);
      identities.add(projector.identity);
      const { data } = await projector.project(float32Tensor(new Float32Array([1, 2, 3, 4, 5, 6]), [2, 3]));
      expect([...data]).toEqual([1, 20, 300, 4, 50, 600]);
      await projector.dispose();
    }
    expect(identities.size).toBe(2);
    const linear = await Projector.load(pico.projector, { lazy: true });
    expect(linear.kind).toBe('linear');
    await linear.dispose();
  });

  test('is asked before the built-in ones, of an mmproj file of any type, too', async () => {
    registerProjector(toy('toy'));
    const content = await loadGguf(pico.mmproj);
    content.metadata.set('clip.projector_type', 'toy');
    const path = join(folder, 'toy.gguf');
    await expect(Projector.load(await writeGguf(path, content))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_UNSUPPORTED',
      message: `${path}: a projector of type 'toy' is not supported. Use a model of the LLaVA family, whose type is 'mlp'.`,
    });
    content.tensors.set('toy.scale', scale);
    const projector = await Projector.load(await writeGguf(path, content), { lazy: true });
    expect([projector.kind, projector.inChannels]).toEqual(['toy', 3]);
    await projector.dispose();
  });

  test('refuses what is no family', () => {
    const register = registerProjector as (family: unknown) => void;
    expect(() => register(undefined)).toThrow(/object for family/);
    expect(() => register({ name: '', open: () => undefined })).toThrow(/string for family\.name/);
    expect(() => register({ name: 'toy' })).toThrow(/function for family\.open/);
  });
});
