// Against transformers: Qwen3-VL's vision tower on pixels and on pictures, and what frames of any size and steps of two frames
// mean for whoever encodes a video.
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { openSafetensors } from '../../dist/files/safetensors.js';
import { projectFrames, readSegments, VideoEncoder, VisionEncoder } from '../../dist/index.js';
import { openTower, towerTensors } from '../../dist/tower/families.js';
import { frameGeometry } from '../../dist/tower/pixels.js';
import { pico, qwen3vl, relativeError } from '../fixtures/index.js';
import { temporaryFolder, tensorOf } from '../fixtures/vision/index.js';

const folder = await temporaryFolder();
const expected = (name: string) => tensorOf(qwen3vl.expected, name);
const [width, rows] = [12, 3];
const sources = [
  ['a folder', qwen3vl.folder],
  ['an mmproj file', qwen3vl.mmproj],
] as const;

/** A row of each token, which is the embedding or one of DeepStack's. */
function rowOf({ data }: { readonly data: Float32Array }, row: number): Float32Array {
  const tokens = data.length / rows / width;
  return Float32Array.from({ length: tokens * width }, (_, at) => {
    return data[(Math.floor(at / width) * rows + row) * width + (at % width)]!;
  });
}

describe.each(sources)('the tower in %s', (_, projector) => {
  test.each([
    // A step of frames is independent of others; a grid is smaller, larger than, or the same as the learned one.
    [2, 6, 8],
    [1, 2, 10],
    [1, 6, 6],
  ])('gives embeddings and the rows of DeepStack for a grid of %i %i %i', async (...grid) => {
    const name = grid.join(' ');
    const { tokens, deepstack } = await projectFrames(await expected(`pixels ${name}`), {
      projector,
      grid,
      threads: 1,
    });
    expect(tokens.dims).toEqual([grid[0], (grid[1] * grid[2]) / 4, width]);
    expect(deepstack).toHaveLength(2);
    for (const [key, found] of Object.entries({ tokens, deepstack0: deepstack![0]!, deepstack1: deepstack![1]! }))
      expect(relativeError(found.data, (await expected(`${key} ${name}`)).data)).toBeLessThan(1e-5);
  });
});

// What rounding costs with these weights: 0.08 % and 2 %.
test.each([
  ['float16', 2e-3],
  ['int8', 4e-2],
] as const)('the tower loses little in %s', async (precision, most) => {
  const options = { projector: qwen3vl.folder, grid: [2, 6, 8], precision, threads: 1 } as const;
  const { tokens, deepstack } = await projectFrames(await expected('pixels 2 6 8'), options);
  for (const [key, found] of Object.entries({ tokens, deepstack1: deepstack![1]! })) {
    const error = relativeError(found.data, (await expected(`${key} 2 6 8`)).data);
    expect(error).toBeLessThan(most);
    expect(error).toBeGreaterThan(1e-5);
  }
});

describe('frames of a picture, upright and across', () => {
  test.each(['landscape', 'portrait'] as const)('%s: get size and pixels as from transformers', async (name) => {
    const source = await openTower(qwen3vl.folder);
    const resized = await expected(`resized ${name}`);
    const shown = name === 'landscape' ? { width: 101, height: 67 } : { width: 67, height: 101 };
    const size = source.sizeOf!({ ...shown, frames: 2 });
    const geometry = frameGeometry(source.config, undefined, size);
    for await (const { frames, dims } of readSegments(qwen3vl[name], { frames: 2, segmentFrames: 2, geometry })) {
      expect(dims).toEqual([2, ...resized.dims]);
      const sum = resized.data.reduce((total, value, at) => total + Math.abs(value - frames[at]!), 0);
      expect(sum / resized.data.length).toBeLessThan(0.5);
    }
  });

  test.each(['landscape', 'portrait'] as const)('%s: bytes give the same as normalised patches', async (name) => {
    const { data, dims } = await expected(`resized ${name}`);
    const [height, wide] = dims as [number, number, number];
    const frames = Uint8Array.from([...data, ...data]);
    const encoder = await VisionEncoder.create({ path: qwen3vl.folder, threads: 1 });
    try {
      const count = (wide * height) / 64;
      const options = { size: { width: wide, height }, tokensPerSegment: count };
      const { local, cls, positions } = await encoder.encodeSegment(frames, options);
      expect(cls.dims).toEqual([1, 0, rows * width]);
      expect([...positions!]).toEqual([...Array(count).keys()]);
      for (const [row, key] of ['tokens', 'deepstack0', 'deepstack1'].entries())
        expect(relativeError(rowOf(local, row), (await expected(`${key} ${name}`)).data)).toBeLessThan(1e-5);
    } finally {
      await encoder.dispose();
    }
  });
});

describe('a video', () => {
  const options = { vision: qwen3vl.folder, device: 'cpu', threads: 1, lazy: true } as const;
  const encoders = Promise.all([
    VideoEncoder.create({ ...options, frames: 2, segmentFrames: 2, tokensPerSegment: 84 }),
    VideoEncoder.create({ ...options, frames: 8, segmentFrames: 4, tokensPerSegment: 10 }),
  ]);
  afterAll(async () => {
    for (const encoder of await encoders) await encoder.dispose();
  });

  test('of any size is encoded, those of two sizes at the same time', async () => {
    const [encoder] = await encoders;
    const names = ['landscape', 'portrait'] as const;
    const encoded = await Promise.all(names.map((name) => encoder.encode(qwen3vl[name])));
    for (const [index, name] of names.entries()) {
      const { local, sampling, projector, tower } = encoded[index]!;
      expect(local.dims).toEqual([1, 84, rows * width]);
      expect(sampling).toMatchObject({ resize: 'squash', globalLayers: 0, reduction: 'pick', mergeHeads: 1 });
      expect(projector).toBe(tower);
      // Its pixels differ from those of transformers by 0.12 of 255, and the embeddings by up to 1.3 %.
      for (const [row, key] of ['tokens', 'deepstack0', 'deepstack1'].entries())
        expect(relativeError(rowOf(local, row), (await expected(`${key} ${name}`)).data)).toBeLessThan(0.02);
    }
  });

  test('is taken in steps of two frames: a segment of four frames has two', async () => {
    const [, encoder] = await encoders;
    const { local, timestamps, sizes } = await encoder.encode(pico.video);
    expect(local.dims).toEqual([2, 10, rows * width]);
    // Of 128 x 96 pixels: transformers makes them 40 x 32, so that all eight have at most 12288.
    const perStep = (40 * 32) / 8 ** 2;
    expect([...sizes.data].reduce((sum, size) => sum + size)).toBe(4 * perStep);
    expect(timestamps).toHaveLength(8);
  });

  test('is cached with the number of tokens that its size gives', async () => {
    const { FeaturesCache } = await import('../../dist/index.js');
    const [, encoder] = await encoders;
    const cache = await FeaturesCache.open(join(folder, 'cache'));
    const stages: string[] = [];
    for (let round = 0; round < 2; round++)
      await encoder.encode(pico.video, { cache, onProgress: ({ stage, done }) => stages.push(`${stage} ${done}`) });
    expect(await cache.list()).toHaveLength(1);
    expect(stages.filter((stage) => stage === 'encode 4')).toHaveLength(1);
  });

  test.each([
    [
      { segmentFrames: 5, frames: 10 },
      /multiple of 2, the frames that the vision tower takes as one step, for segmentFrames but received 5/,
    ],
    [{ resize: 'crop' }, /'squash', as the vision tower takes frames of any size, for resize but received 'crop'/],
    [{ globalLayers: 1 }, /globalLayers but received 1/],
  ] as const)('is refused before it is opened: %j', async (sampling, message) => {
    const [encoder] = await encoders;
    const failing = encoder.encode('nowhere.mp4', { sampling });
    await expect(failing).rejects.toMatchObject({ name: 'RangeError', message: expect.stringMatching(message) });
  });

  test('whose frames have fewer tokens than asked for is refused once its size is known', async () => {
    const [encoder] = await encoders;
    const failing = encoder.encode(qwen3vl.landscape, {
      sampling: { frames: 4, segmentFrames: 2, tokensPerSegment: 60 },
    });
    await expect(failing).rejects.toMatchObject({
      code: 'ERR_LONGVLM_VIDEO',
      message: expect.stringMatching(
        /takes this video's frames as 64x40 pixels, which are 40 tokens in each segment: .*60/,
      ),
    });
  });
});

test('no other tower takes a grid or a size, and this one needs them', async () => {
  const pixels = await expected('pixels 1 6 6');
  const give = (options: object) => projectFrames(pixels, { projector: qwen3vl.folder, ...options });
  await expect(give({})).rejects.toThrow('Expected array of 3 integers for grid but received undefined');
  await expect(give({ grid: [1, 6] })).rejects.toThrow('Expected array of 3 integers for grid');
  await expect(give({ grid: [1, 5, 6] })).rejects.toThrow('Expected multiple of 2 for grid[1] but received 5');
  await expect(give({ grid: [2, 6, 6] })).rejects.toThrow('Expected shape [72, 96] for pixels but received [36, 96]');
  await expect(give({ projector: pico.mmproj, grid: [1, 6, 6] })).rejects.toThrow(
    'Expected nothing, as the vision tower takes frames of one size, for grid',
  );
  const encoder = await VisionEncoder.create({ path: qwen3vl.mmproj, lazy: true });
  const frames = new Uint8Array(2 * 16 * 8 * 3);
  const encode = (size: object | undefined, bytes = frames) =>
    encoder.encodeSegment(bytes, { ...(size && { size }), tokensPerSegment: 1 } as never);
  await expect(encode(undefined)).rejects.toThrow('Expected object, as the vision tower takes any size, for size');
  await expect(encode({ width: 16, height: 12 })).rejects.toThrow('Expected multiple of 8 pixels for size.height');
  await expect(encode({ width: 16, height: 8 }, frames.slice(384))).rejects.toThrow('(2 frames of 16x8 RGB)');
  await expect(encoder.forward(pixels)).rejects.toMatchObject({ code: 'ERR_LONGVLM_UNSUPPORTED' });
  await encoder.dispose();
});

describe('the files of a Qwen3-VL', () => {
  let folders = 0;
  type Change = { readonly vision?: object; readonly config?: object; readonly video?: object | null };

  async function changed({ vision, config, video }: Change): Promise<string> {
    const path = join(folder, String(folders++));
    await cp(qwen3vl.folder, path, { recursive: true });
    const change = async (name: string, edit: (content: Record<string, object>) => object) => {
      const content = JSON.parse(await readFile(join(path, name), 'utf8')) as Record<string, object>;
      await writeFile(join(path, name), JSON.stringify(edit(content)));
    };
    await change('config.json', (root) => ({
      ...root,
      vision_config: { ...root.vision_config, ...vision },
      ...config,
    }));
    if (video === null) await rm(join(path, 'video_preprocessor_config.json'));
    else await change('video_preprocessor_config.json', (root) => ({ ...root, ...video }));
    return path;
  }

  const sizeIn = async (path: string) => (await openTower(path)).sizeOf!({ frames: 2, width: 101, height: 67 });

  test('say how large frames are: those of videos before those of pictures', async () => {
    expect(await sizeIn(qwen3vl.folder)).toEqual({ width: 96, height: 56 });
    expect(await sizeIn(await changed({ video: { size: { shortest_edge: 64, longest_edge: 4096 } } }))).toEqual({
      width: 48,
      height: 32,
    });
    // preprocessor_config.json asks for 65536 pixels at least, of the two frames.
    const grown = await sizeIn(await changed({ video: null }));
    expect(grown.width * grown.height * 2).toBeGreaterThanOrEqual(65_536);
    // An mmproj file does not say.
    expect(await sizeIn(qwen3vl.mmproj)).toEqual({ width: 104, height: 64 });
    const nested = await changed({ video: null });
    const processor = { video_processor: { size: { shortest_edge: 64, longest_edge: 4096 } } };
    await writeFile(join(nested, 'processor_config.json'), JSON.stringify(processor));
    expect(await sizeIn(nested)).toEqual({ width: 48, height: 32 });
  });

  test('make another identity where frames get other sizes', async () => {
    const identity = async (path: string) => {
      const encoder = await VisionEncoder.create({ path, lazy: true });
      await encoder.dispose();
      return encoder.identity;
    };
    const own = await identity(qwen3vl.folder);
    expect(await identity(await changed({}))).toBe(own);
    expect(await identity(await changed({ video: { size: { shortest_edge: 64, longest_edge: 4096 } } }))).not.toBe(own);
    expect(await identity(await changed({ video: { cap_pixels_per_frame: true } }))).not.toBe(own);
  });

  test.each<[string, Change, string, RegExp]>([
    [
      'heads',
      { vision: { num_heads: 3 } },
      'ERR_LONGVLM_WEIGHTS',
      /hidden_size 16 is no multiple of 4 times vision_config.num_heads 3/,
    ],
    [
      'a grid that is no square',
      { vision: { num_position_embeddings: 35 } },
      'ERR_LONGVLM_WEIGHTS',
      /num_position_embeddings 35 is no square/,
    ],
    ['a layer too much', { vision: { depth: 4 } }, 'ERR_LONGVLM_WEIGHTS', /it has no layer 3/],
    [
      'DeepStack of no layer',
      { vision: { deepstack_visual_indexes: [0, 3] } },
      'ERR_LONGVLM_WEIGHTS',
      /deepstack_visual_indexes 0,3 are not layers/,
    ],
    [
      'less of DeepStack',
      { vision: { deepstack_visual_indexes: [0] } },
      'ERR_LONGVLM_UNSUPPORTED',
      /deepstack_merger_list\.1/,
    ],
    ['another activation', { vision: { hidden_act: 'gelu_11' } }, 'ERR_LONGVLM_UNSUPPORTED', /hidden_act/],
    [
      'another width',
      { vision: { out_hidden_size: 16 } },
      'ERR_LONGVLM_WEIGHTS',
      /merger\.linear_fc2\.weight has shape \[12, 64\] where \[16, 64\]/,
    ],
    [
      'other patches',
      { video: { patch_size: 8 } },
      'ERR_LONGVLM_WEIGHTS',
      /patch_size is 8, where the tower of config.json has 4/,
    ],
    ['no resizing', { video: { do_resize: false } }, 'ERR_LONGVLM_UNSUPPORTED', /do_resize false/],
    ['another filter', { video: { resample: 2 } }, 'ERR_LONGVLM_UNSUPPORTED', /resample/],
    [
      'bounds that cross',
      { video: { size: { shortest_edge: 9, longest_edge: 8 } } },
      'ERR_LONGVLM_WEIGHTS',
      /shortest_edge 9 above its longest_edge 8/,
    ],
    ['a size of pixels', { video: { size: { height: 9, width: 8 } } }, 'ERR_LONGVLM_WEIGHTS', /size/],
  ])('are refused: %s', async (_, change, code, message) => {
    const path = await changed(change);
    await expect(openTower(path)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test('name the tensors of the tower among others', async () => {
    const names = [...(await openSafetensors(join(qwen3vl.folder, 'model.safetensors'))).tensors.keys()];
    expect(towerTensors([...names, 'lm_head.weight', 'model.language_model.norm.weight'])).toEqual(names);
  });
});
