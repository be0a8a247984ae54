import { execFile } from 'node:child_process';
import { cp, readFile, rename, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { elementCount, type Float32Tensor, float32Tensor } from '../../dist/base/tensor.js';
import { VisionEncoder } from '../../dist/encode/visionEncoder.js';
import { mergeTokensSync } from '../../dist/kernels/index.js';
import { expected, pico, relativeError } from '../fixtures/index.js';
import {
  convert,
  geluClip,
  geluClipExpected,
  loadTensors,
  type Tensors,
  temporaryFolder,
  tensorOf,
  writeClip,
} from '../fixtures/vision/index.js';

// Largest difference, relative to the largest magnitude: the reference sums in another order. Seen: 1.3e-6.
const tolerance = 1e-5;
const threads = 2;
const { K, rs, heads } = pico.expected.config;
const weights = join(pico.clip, 'model.safetensors');

/** `count` entries of the first axis, from `from`. */
function rows({ data, dims }: Float32Tensor, from: number, count: number): Float32Tensor {
  const size = elementCount(dims.slice(1));
  return float32Tensor(data.slice(from * size, (from + count) * size), [count, ...dims.slice(1)]);
}

/** Frames whose normalised values differ from `pixels` by at most half of 1/255 / std. */
function quantised({ data, dims }: Float32Tensor, { mean, std, rescale }: VisionEncoder['config']): Uint8Array {
  const [frames, , height, width] = dims as [number, number, number, number];
  const area = height * width;
  return Uint8Array.from({ length: frames * area * 3 }, (_, index) => {
    const channel = index % 3;
    const pixel = Math.floor(index / 3) % area;
    const frame = Math.floor(index / 3 / area);
    const value = data[(frame * 3 + channel) * area + pixel]!;
    return Math.round((value * std[channel]! + mean[channel]!) / rescale);
  });
}

let encoder: VisionEncoder;
let pixels: Float32Tensor;
let frames: Uint8Array;

beforeAll(async () => {
  encoder = await VisionEncoder.create({ path: pico.clip, threads });
  pixels = await expected('pixel_values_crop');
  frames = quantised(pixels, encoder.config);
});
afterAll(() => encoder.dispose());

const segmentFrames = (segment: number) => {
  const bytes = (frames.length / pico.expected.config.T) * K;
  return frames.slice(segment * bytes, (segment + 1) * bytes);
};

describe('VisionEncoder against the reference', () => {
  test('forward() gives its patches and cls', async () => {
    const { patches, cls } = await encoder.forward(pixels);
    expect(patches.dims).toEqual([20, 16, 64]);
    expect(cls.dims).toEqual([20, 5, 64]);
    expect(relativeError(patches.data, (await expected('patches')).data)).toBeLessThan(tolerance);
    expect(relativeError(cls.data, (await expected('cls')).data)).toBeLessThan(tolerance);
  });

  test('its patches merge into the reference’s local tokens, and cls into its global ones', async () => {
    const { patches, cls } = await encoder.forward(pixels);
    const tokens = float32Tensor(patches.data, [pixels.dims[0]! / K, K * 16, 64]);
    const merged = mergeTokensSync(tokens, { heads, schedule: rs });
    expect(merged.tokens.dims).toEqual([4, 6, 64]);
    expect([...merged.sizes.data]).toEqual([...(await expected('sizes')).data]);
    expect(relativeError(merged.tokens.data, (await expected('local')).data)).toBeLessThan(tolerance);
    const global = new Float32Array(5 * 64);
    for (const [index, value] of cls.data.entries()) global[index % global.length]! += value / 20;
    expect(relativeError(global, (await expected('global')).data)).toBeLessThan(tolerance);
  });

  test('encodeSegment() normalises, runs and merges as the steps one by one', async () => {
    for (let segment = 0; segment < 4; segment++) {
      const { local, sizes, cls } = await encoder.encodeSegment(segmentFrames(segment), { schedule: rs });
      expect([local.dims, sizes.dims, cls.dims]).toEqual([[6, 64], [6], [5, 5, 64]]);
      // The fixture's pixels were rounded to bytes before they were normalised, so nothing is lost by rounding again.
      expect(relativeError(local.data, rows(await expected('local'), segment, 1).data)).toBeLessThan(tolerance);
      expect([...sizes.data]).toEqual([...rows(await expected('sizes'), segment, 1).data]);
      expect(relativeError(cls.data, rows(await expected('cls'), segment * K, K).data)).toBeLessThan(tolerance);
    }
  });

  test('tokensPerSegment halves until so many are left', async () => {
    const bySchedule = await encoder.encodeSegment(segmentFrames(0), { schedule: rs });
    const byTokens = await encoder.encodeSegment(segmentFrames(0), { tokensPerSegment: 6, heads });
    expect(byTokens).toEqual(bySchedule);
    expect((await encoder.encodeSegment(segmentFrames(0), { tokensPerSegment: 6, heads: 1 })).local).not.toEqual(
      bySchedule.local,
    );
  });

  test.each([1, 2, 4])('another shape, GELU and a text tower beside it, %i global layers', async (globalLayers) => {
    const other = await VisionEncoder.create({ path: geluClip, globalLayers, threads });
    const { patches, cls } = await other.forward(await tensorOf(geluClipExpected, 'pixels'));
    const states = await tensorOf(geluClipExpected, 'cls');
    const last = [0, 1].flatMap((frame) => [...rows(states, frame, 1).data].slice(-globalLayers * 32));
    expect(cls.dims).toEqual([2, globalLayers, 32]);
    expect(relativeError(cls.data, last)).toBeLessThan(tolerance);
    expect(relativeError(patches.data, (await tensorOf(geluClipExpected, 'patches')).data)).toBeLessThan(tolerance);
    await other.dispose();
  });

  test('more frames than go through the tower at once', async () => {
    const copies = 4;
    const many = new Float32Array(copies * pixels.data.length);
    for (let copy = 0; copy < copies; copy++) many.set(pixels.data, copy * pixels.data.length);
    const { patches, cls } = await encoder.forward(float32Tensor(many, [copies * 20, 3, 56, 56]));
    for (let copy = 0; copy < copies; copy++) {
      expect(relativeError(rows(patches, copy * 20, 20).data, (await expected('patches')).data)).toBeLessThan(
        tolerance,
      );
      expect(relativeError(rows(cls, copy * 20, 20).data, (await expected('cls')).data)).toBeLessThan(tolerance);
    }
  });
});

describe('VisionEncoder over other weights', () => {
  // Half an ulp of a weight is 2^-12 (F16) and 2^-9 (BF16) of it; over six layers the largest error seen is as given.
  test.each([
    ['F16', 2e-3],
    ['BF16', 2e-2],
  ] as const)('%s, under a prefix, beside a text tower', async (type, bound) => {
    const tensors: Tensors = {};
    for (const [name, tensor] of Object.entries(await loadTensors(weights)))
      tensors[`vision_model.${name}`] = convert(tensor, type);
    tensors['text_model.embeddings.position_ids'] = { type: 'I64', shape: [2], data: new BigInt64Array(2) };
    tensors['text_model.encoder.layers.0.layer_norm1.weight'] = { type: 'F32', shape: [1], data: new Float32Array(1) };
    const folder = await writeClip(await temporaryFolder(), tensors, pico.clip);
    const half = await VisionEncoder.create({ path: folder, threads });
    const { patches, cls } = await half.forward(pixels);
    const wanted = await encoder.forward(pixels);
    for (const [actual, exact] of [
      [patches, wanted.patches],
      [cls, wanted.cls],
    ] as const) {
      const error = relativeError(actual.data, exact.data);
      expect(error).toBeLessThan(bound);
      expect(error, 'the weights were really rounded').toBeGreaterThan(bound / 100);
    }
    await half.dispose();
  });

  test('identity tells towers apart, not where they lie or what they are called', async () => {
    const tensors = await loadTensors(weights);
    const renamed = Object.fromEntries(
      Object.entries(tensors).map(([name, tensor]) => [`model.vision_model.${name}`, tensor]),
    );
    const same = await writeClip(await temporaryFolder(), renamed, pico.clip);
    const other = await temporaryFolder();
    const weight = tensors['encoder.layers.5.self_attn.out_proj.weight']!;
    const data = Float32Array.from(weight.data as Float32Array);
    data[data.length - 1]! += 1e-3;
    await writeClip(
      other,
      { ...tensors, 'encoder.layers.5.self_attn.out_proj.weight': { ...weight, data } },
      pico.clip,
    );
    const identities = [];
    for (const path of [join(same, 'model.safetensors'), other]) {
      const opened = await VisionEncoder.create({ path, globalLayers: 1, threads });
      identities.push(opened.identity);
      await opened.dispose();
    }
    expect(identities[0]).toBe(encoder.identity);
    expect(identities[1]).not.toBe(encoder.identity);
    expect(encoder.identity).toMatch(/^[0-9a-f]{64}$/);
  });

  test('NaN is reported by code and place', async () => {
    const tensors = await loadTensors(weights);
    const name = 'encoder.layers.4.mlp.fc2.bias';
    tensors[name] = { ...tensors[name]!, data: new Float32Array(64).fill(Number.NaN) };
    const broken = await VisionEncoder.create({
      path: await writeClip(await temporaryFolder(), tensors, pico.clip),
      threads,
    });
    await expect(broken.encodeSegment(segmentFrames(0), { tokensPerSegment: 6 })).rejects.toMatchObject({
      name: 'LongVLMError',
      code: 'ERR_LONGVLM_NOT_FINITE',
      message: expect.stringMatching(/tokens/),
    });
    await broken.dispose();
  });
});

describe('VisionEncoder refuses', () => {
  const norm = 'encoder.layers.3.layer_norm2.weight';
  test.each<[string, (tensors: Tensors) => void, RegExp]>([
    [
      'a missing tensor',
      (tensors) => delete tensors[norm],
      /model\.safetensors: tensor encoder\.layers\.3\.layer_norm2\.weight is missing\. Use the complete/,
    ],
    [
      'a wrong shape',
      (tensors) => {
        tensors[norm] = { type: 'F32', shape: [32], data: new Float32Array(32) };
      },
      /tensor encoder\.layers\.3\.layer_norm2\.weight has shape \[32\] where \[64\] is needed/,
    ],
    [
      'a type that cannot be run',
      (tensors) => {
        tensors[norm] = { type: 'I32', shape: [64], data: new Int32Array(64) };
      },
      /tensor encoder\.layers\.3\.layer_norm2\.weight is of type I32, which cannot be run/,
    ],
    [
      'weights without a tower',
      (tensors) => {
        for (const name of Object.keys(tensors)) if (name.startsWith('embeddings')) delete tensors[name];
      },
      /tensor embeddings\.class_embedding is missing, so it holds no CLIP vision tower/,
    ],
  ])('%s', async (_, change, message) => {
    const tensors = await loadTensors(weights);
    change(tensors);
    const path = await writeClip(await temporaryFolder(), tensors, pico.clip);
    await expect(VisionEncoder.create({ path })).rejects.toMatchObject({ code: 'ERR_LONGVLM_WEIGHTS', message });
    await expect(VisionEncoder.create({ path })).rejects.toThrow(path);
  });

  test('a truncated file', async () => {
    const path = await writeClip(await temporaryFolder(), await loadTensors(weights), pico.clip);
    const file = join(path, 'model.safetensors');
    await truncate(file, (await readFile(file)).length - 1);
    await expect(VisionEncoder.create({ path })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: expect.stringMatching(/model\.safetensors: truncated/),
    });
  });

  test('wrong options', async () => {
    const create = (options: object) => VisionEncoder.create({ path: pico.clip, ...options });
    await expect(create({ path: '' })).rejects.toMatchObject({
      name: 'RangeError',
      message: expect.stringMatching(/non-empty string for path/),
    });
    await expect(create({ globalLayers: 8 })).rejects.toMatchObject({
      name: 'RangeError',
      message: 'Expected integer between 0 and 7 for globalLayers but received 8 of type number',
    });
    await expect(create({ threads: 0 })).rejects.toMatchObject({
      name: 'RangeError',
      message: expect.stringMatching(/positive integer for threads/),
    });
    await expect(create({ device: 3 })).rejects.toMatchObject({
      name: 'TypeError',
      message: expect.stringMatching(/string for device/),
    });
    await expect(create({ device: 'abacus' })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_UNSUPPORTED',
      message: expect.stringMatching(/'abacus' is not available/),
    });
    await expect(create({ signal: AbortSignal.abort(new Error('no')) })).rejects.toThrow('no');
  });

  test('wrong arguments', async () => {
    const call = (...args: unknown[]) =>
      (encoder.encodeSegment as (...args: unknown[]) => Promise<unknown>).apply(encoder, args);
    const frame = frames.slice(0, 56 * 56 * 3);
    const calls: [Promise<unknown>, string, RegExp][] = [
      [call(new Float32Array(3), { tokensPerSegment: 6 }), 'TypeError', /Uint8Array for frames/],
      [
        call(frame.subarray(1), { tokensPerSegment: 6 }),
        'RangeError',
        /positive multiple of 9408 \(56x56 RGB\) for frames\.length/,
      ],
      [call(frame), 'TypeError', /object for options/],
      [call(frame, {}), 'TypeError', /one of tokensPerSegment and schedule/],
      [call(frame, { tokensPerSegment: 6, schedule: rs }), 'TypeError', /one of tokensPerSegment and schedule/],
      [call(frame, { tokensPerSegment: 17 }), 'RangeError', /integer between 1 and 16 for tokensPerSegment/],
      [
        call(frame, { tokensPerSegment: 6, reduction: 'drop' }),
        'RangeError',
        /one of merge, pick, pool, subsample, all, fastvid, .*random for reduction/,
      ],
      [
        call(frame, { schedule: [1], reduction: 'pool' }),
        'RangeError',
        /'merge' for reduction, as a schedule is given/,
      ],
      [call(frame, { tokensPerSegment: 17, reduction: 'pool' }), 'RangeError', /between 1 and 16 for tokensPerSegment/],
      [call(frame, { schedule: [1, -1] }), 'RangeError', /for schedule\[1\]/],
      [call(frame, { tokensPerSegment: 6, heads: 5 }), 'RangeError', /divisor of the 64 channels for heads/],
      [encoder.forward(float32Tensor(new Float32Array(0), [0, 3, 56, 56])), 'RangeError', /pixels\.dims\[0\]/],
      [
        encoder.forward(float32Tensor(new Float32Array(12), [1, 3, 2, 2])),
        'RangeError',
        /shape \[frames, 3, 56, 56\] for pixels/,
      ],
    ];
    for (const [promise, name, message] of calls) await expect(promise).rejects.toMatchObject({ name, message });
  });
});

describe('VisionEncoder as an object', () => {
  test('keeps the caller’s frames, unless they are handed over', async () => {
    const own = segmentFrames(1);
    const kept = await encoder.encodeSegment(own, { tokensPerSegment: 6 });
    expect(own).toEqual(segmentFrames(1));
    // A view at an odd place of a larger buffer counts as the frames alone.
    const around = new Uint8Array(own.length + 7);
    around.set(own, 3);
    expect(await encoder.encodeSegment(around.subarray(3, -4), { tokensPerSegment: 6, transfer: true })).toEqual(kept);
    expect(around.length).toBe(own.length + 7);
    expect(await encoder.encodeSegment(own, { tokensPerSegment: 6, transfer: true })).toEqual(kept);
    expect(own.length, 'detached').toBe(0);
  });

  test('answers calls that overlap, each with its own', async () => {
    const segments = [0, 1, 2, 3, 0];
    const alone = [];
    for (const segment of segments)
      alone.push(await encoder.encodeSegment(segmentFrames(segment), { tokensPerSegment: 6 }));
    const together = segments.map((segment) => encoder.encodeSegment(segmentFrames(segment), { tokensPerSegment: 6 }));
    expect(await Promise.all(together)).toEqual(alone);
  });

  test('stops at an abort with its reason, and works on', async () => {
    const long = float32Tensor(new Float32Array(2000 * 3 * 56 * 56), [2000, 3, 56, 56]);
    const controller = new AbortController();
    const reason = new Error('enough');
    // Calls are served in order: once the first is done, the next is under way.
    const first = encoder.forward(rows(pixels, 0, 1));
    const call = encoder.forward(long, { signal: controller.signal });
    const queued = encoder.forward(rows(pixels, 0, 1), { signal: controller.signal });
    await first;
    controller.abort(reason);
    await expect(call).rejects.toBe(reason);
    await expect(queued).rejects.toBe(reason);
    const { patches } = await encoder.forward(rows(pixels, 0, 2));
    expect(relativeError(patches.data, rows(await expected('patches'), 0, 2).data)).toBeLessThan(tolerance);
  });

  test('starts with its first call when it is lazy, which its abort does not spoil', async () => {
    const own = await VisionEncoder.create({ path: pico.clip, threads, lazy: true });
    expect([own.identity, own.device]).toEqual([encoder.identity, undefined]);
    const controller = new AbortController();
    const reason = new Error('enough');
    const call = own.forward(rows(pixels, 0, 1), { signal: controller.signal });
    controller.abort(reason);
    await expect(call).rejects.toBe(reason);
    const calls = [0, 1].map((segment) => own.encodeSegment(segmentFrames(segment), { tokensPerSegment: 6 }));
    const expected = [0, 1].map((segment) => encoder.encodeSegment(segmentFrames(segment), { tokensPerSegment: 6 }));
    expect(await Promise.all(calls)).toEqual(await Promise.all(expected));
    expect(own.device).toBe('cpu');
    await own.dispose();
    await expect(own.forward(pixels)).rejects.toMatchObject({ code: 'ERR_LONGVLM_DISPOSED' });
  });

  test('can be released, and starts again with the next call', async () => {
    const own = await VisionEncoder.create({ path: pico.clip, threads });
    const encode = () => own.encodeSegment(segmentFrames(0), { tokensPerSegment: 6 });
    const before = [own.forward(rows(pixels, 0, 1)), encode()];
    await own.release();
    expect([own.device, own.disposed]).toEqual([undefined, false]);
    const again = [own.forward(rows(pixels, 0, 1)), encode()];
    expect(await Promise.all(again)).toEqual(await Promise.all(before));
    expect(own.device).toBe('cpu');
    await own.dispose();
    await own.release();
  });

  test('can be released while it starts: calls before and after get their results', async () => {
    const own = await VisionEncoder.create({ path: pico.clip, threads, lazy: true });
    const before = own.forward(rows(pixels, 0, 1));
    const released = [own.release(), own.release()];
    const after = own.forward(rows(pixels, 0, 1));
    expect(await after).toEqual(await before);
    await Promise.all(released);
    await own.dispose();
  });

  test('tries again to start where it failed before', async () => {
    const path = await temporaryFolder();
    await cp(pico.clip, path, { recursive: true });
    const own = await VisionEncoder.create({ path, threads, lazy: true });
    const [weights, away] = ['model.safetensors', 'away'].map((name) => join(path, name));
    await rename(weights!, away!);
    const encode = () => own.encodeSegment(segmentFrames(0), { tokensPerSegment: 6 });
    await expect(encode()).rejects.toMatchObject({ code: 'ERR_LONGVLM_INFERENCE' });
    await expect(own.forward(rows(pixels, 0, 1))).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
    await rename(away!, weights!);
    expect((await encode()).local.dims).toEqual([6, 64]);
    expect((await own.forward(rows(pixels, 0, 1))).patches.dims).toEqual([1, 16, 64]);
    await own.dispose();
  });

  test('can be disposed before it is started, and while it is', async () => {
    const own = () => VisionEncoder.create({ path: pico.clip, threads, lazy: true });
    const unused = await own();
    await unused.dispose();
    await expect(unused.forward(pixels)).rejects.toMatchObject({ code: 'ERR_LONGVLM_DISPOSED' });
    const used = await own();
    const call = used.forward(rows(pixels, 0, 1));
    await used.dispose();
    expect((await call).patches.dims).toEqual([1, 16, 64]);
  });

  test('finishes what is under way when disposed, then refuses', async () => {
    const own = await VisionEncoder.create({ path: pico.clip, threads });
    const call = own.forward(rows(pixels, 0, 1));
    const disposing = own[Symbol.asyncDispose]();
    expect(own.disposed).toBe(true);
    await expect(own.forward(pixels)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_DISPOSED',
      message: 'The vision tower was disposed. Load it again.',
    });
    expect((await call).patches.dims).toEqual([1, 16, 64]);
    await disposing;
    await own.dispose();
  });

  /** Runs a script that has `create(options)` and `pixels(frames)`. */
  async function inProcess(script: string): Promise<{ code: number; stdout: string; stderr: string }> {
    const module = (path: string) => JSON.stringify(fileURLToPath(new URL(`../../dist/${path}`, import.meta.url)));
    const preamble = `
      import { VisionEncoder } from ${module('encode/visionEncoder.js')};
      import { float32Tensor } from ${module('base/tensor.js')};
      const create = (options) => VisionEncoder.create({ path: ${JSON.stringify(pico.clip)}, threads: 1, ...options });
      const pixels = (frames) => float32Tensor(new Float32Array(frames * 3 * 56 * 56), [frames, 3, 56, 56]);`;
    const args = ['--input-type=module', '-e', preamble + script];
    return promisify(execFile)(process.execPath, args, { timeout: 30_000 }).then(
      (streams) => ({ code: 0, ...streams }),
      ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
    );
  }

  test('lets the process end although it was not disposed', async () => {
    const ended = await inProcess(`
      const encoder = await create();
      const { local } = await encoder.encodeSegment(new Uint8Array(56 * 56 * 3), { tokensPerSegment: 4 });
      console.log(local.dims.join());`);
    expect(ended).toEqual({ code: 0, stdout: '4,64\n', stderr: '' });
  });

  test('survives process.exit() while the tower runs', async () => {
    const ended = await inProcess(`
      const encoder = await create();
      const first = encoder.forward(pixels(1));
      void encoder.forward(pixels(3000));
      // Served in order: the second is under way.
      await first;
      process.exit(7);`);
    expect(ended).toEqual({ code: 7, stdout: '', stderr: '' });
  });

  test('stops at an abort while it loads', async () => {
    const ended = await inProcess(`
      // Loading turns the event loop some times: an abort after more and more of them, until one comes too late.
      let stopped = 0;
      for (let turns = 0; ; turns = 2 * turns + 1) {
        const controller = new AbortController();
        const made = create({ signal: controller.signal }).then((encoder) => encoder.dispose(), (error) => error);
        for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
        controller.abort(new Error('enough'));
        const error = await made;
        if (error === undefined) break;
        if (error.message !== 'enough') throw error;
        stopped++;
      }
      console.log(stopped > 2);`);
    expect(ended).toEqual({ code: 0, stdout: 'true\n', stderr: '' });
  });
});
