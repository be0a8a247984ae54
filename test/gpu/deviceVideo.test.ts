// Videos that are reduced as a whole on a GPU become what they become on the host, and their tokens stay there. Over the emulated
// device.
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { LongVLMError } from '../../dist/base/errors.js';
import { gatherVideoOnDevice, type WholeVideo } from '../../dist/encode/deviceVideo.js';
import { gatherWholeVideo } from '../../dist/encode/gatheredTokens.js';
import type { TokenEncoder } from '../../dist/encode/segment.js';
import { DeviceBuffer, Projector } from '../../dist/index.js';
import type { ReductionOptions } from '../../dist/reduce/options.js';
import type { VideoReducer } from '../../dist/reduce/reducer.js';
import { makeReducer } from '../../dist/reduce/reducers.js';
import { shapeOfCells, squareShape } from '../../dist/tower/frameShape.js';
import type { VisionPrecision } from '../../dist/tower/precision.js';
import { Tower } from '../../dist/tower/tower.js';
import { pico, qwen3vl } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';
import { copiesOf } from './copies.js';
import { useCudaLibrary } from './cudaLibrary.js';
import { addAll, gather, noise } from './gathering.js';

const folder = await temporaryFolder();
/** Frames of a video, and those that are read at once. */
const [frames, framesOfRead] = [12, 4];
/** Tokens that are kept, of 192 of CLIP and of 36 of Qwen3-VL. */
const budgetOf = ({ config }: Tower) => (config.cell ? 24 : 60);

type Device = 'cpu' | 'cuda';
const opened: { dispose(): Promise<void> }[] = [];
const openTower = async (path: string, device: Device, precision: VisionPrecision = 'float32') => {
  const tower = await Tower.open({ path, precision, device, threads: 1, lazy: true });
  opened.push(tower);
  return tower;
};
const openProjector = async (device: Device) => {
  const projector = await Projector.load(pico.projector, { device, threads: 1, lazy: true });
  opened.push(projector);
  return projector;
};

type Models = { readonly tower: Tower; readonly projector?: Projector };
const clip = {} as Record<Device, Models>;
const deepStack = {} as Record<Device, Models>;

beforeAll(async () => {
  await useCudaLibrary();
  for (const device of ['cpu', 'cuda'] as const) {
    clip[device] = { tower: await openTower(pico.clip, device), projector: await openProjector(device) };
    deepStack[device] = { tower: await openTower(qwen3vl.folder, device) };
  }
}, 900_000);
afterAll(() => Promise.all(opened.map((each) => each.dispose())));

/** How a video is encoded and reduced with these models. */
function settle(models: Models, reduction: string, options: ReductionOptions, globalLayers: number) {
  const { tower } = models;
  const { config, framesPerStep, projection } = tower;
  const shape = config.cell ? shapeOfCells(config, { width: 16, height: 24 }) : squareShape(config);
  const { patches, grid } = shape;
  const { attention } = config;
  const reducer = makeReducer(reduction, {
    ...{ tokensPerSegment: 1, mergeHeads: 1, tokens: budgetOf(tower), options },
    ...(attention && { attention }),
  }) as VideoReducer;
  const projector = reducer.stage === 'projector' ? models.projector : undefined;
  const steps = frames / framesPerStep;
  const width = (projection?.rows ?? 1) > 1 ? { width: projection!.width } : {};
  const video = { frames: steps, patches, grid, channels: projector?.outChannels ?? config.channels, ...width };
  reducer.check(video);
  const whole: WholeVideo = {
    reducer,
    shape: { frames, segmentFrames: frames, tokensPerSegment: reducer.count(video), globalLayers },
    video,
    stepsOfRead: framesOfRead / framesPerStep,
  };
  const encoder: TokenEncoder = { tower, shape, projector };
  const reads = () => noise(frames, framesOfRead, shape.width * shape.height * 3);
  const onHost = () => gatherWholeVideo(encoder, reducer, whole.shape, video, undefined);
  return { encoder, whole, reads, onHost };
}

type Settled = ReturnType<typeof settle>;

/** Gathers on both, and expects the same; gives the copies on the way to the tokens. */
async function compare(
  on: Record<Device, Models>,
  reduction: string,
  options: ReductionOptions,
  globalLayers: number,
  stepsAtOnce?: number,
) {
  const due = settle(on.cpu, reduction, options, globalLayers);
  const wanted = await gather(due.onHost(), due.reads());
  const { encoder, whole, reads } = settle(on.cuda, reduction, options, globalLayers);
  const gathering = (await gatherVideoOnDevice(encoder, whole, undefined, stepsAtOnce))!;
  const { result, ...copies } = await copiesOf(folder, () => addAll(gathering, reads()));
  await result.onDevice!.bringDown();
  expect(result.tokens).toEqual(wanted.tokens);
  return { copies, encoded: result.encoded, whole, bytes: [...reads()].map(({ length }) => length) };
}

describe('a video that is reduced as a whole on a GPU', () => {
  // With attention of CLIP's class token for the first two.
  test.each<[string, ReductionOptions, number]>([
    ['fastvid', { anchorStep: 2 }, 2],
    ['flashvid', {}, 2],
    ['flashvid', { attention: 'div' }, 0],
    ['flashvid', { attention: 'norm' }, 1],
    ['fastvid', { attention: 'norm' }, 0],
    ['vcast', {}, 5],
    ['evs', {}, 2],
    ['vidcom2', { retentionRatio: 0.2 }, 0],
    ['aim', {}, 7],
    ['uniform', {}, 2],
    ['random', { seed: 3 }, 0],
  ])("%s %o: the host's bits; frames go up, and what comes down is small", async (reduction, options, globalLayers) => {
    const { copies, encoded, whole, bytes } = await compare(clip, reduction, options, globalLayers, 9);
    expect(encoded).toEqual([0, 8, 12]);
    const { frames, patches, channels } = whole.video;
    // Indices, sizes, attention, and FastVID's means of frames.
    const small = 4 * frames * Math.max(patches, channels);
    expect(copies.up.slice(0, bytes.length)).toEqual(bytes);
    expect(copies.up[bytes.length] ?? 0).toBeLessThanOrEqual(small);
    expect(copies.down[0]).toBeLessThanOrEqual(small);
    expect(small).toBeLessThan(bytes[0]!);
    expect(small).toBeLessThan(budgetOf(clip.cuda.tower) * channels * 4);
    expect(copies.across).toEqual([]);
  });

  test.each(['vcast', 'fastvid', 'flashvid', 'aim'])(
    '%s behind the projector, which reads and writes there',
    async (reduction) => {
      const { copies, whole } = await compare(clip, reduction, { stage: 'projector' }, 3, 4);
      expect(whole.video.channels).toBe(clip.cpu.projector!.outChannels);
      expect(copies.down[0]).toBeLessThan(budgetOf(clip.cuda.tower) * whole.video.channels * 4);
      expect(copies.across).toEqual([]);
    },
  );

  // Tokens of which the language model takes further rows in later layers: methods see the first.
  test.each(['evs', 'aim', 'flashvid'])("%s of DeepStack's rows", async (reduction) => {
    const { copies, whole } = await compare(deepStack, reduction, {}, 0);
    expect(whole.video.channels).toBe(3 * whole.video.width!);
    expect(copies.across).toEqual([]);
  });

  describe('in float16', () => {
    const halves = {} as Record<Device, Models>;
    beforeAll(async () => {
      for (const device of ['cpu', 'cuda'] as const)
        halves[device] = { ...clip[device], tower: await openTower(pico.clip, device, 'float16') };
    });

    test.each<[string, string, ReductionOptions]>([
      ['fastvid', 'tower', { anchorStep: 2 }],
      ['fastvid', 'projector', { anchorStep: 2 }],
      ['fastvid', 'tower', { anchorStep: 2, attention: 'norm' }],
      ['flashvid', 'tower', {}],
      ['flashvid', 'projector', {}],
      ['flashvid', 'tower', { attention: 'div' }],
      ['vcast', 'tower', {}],
      ['vcast', 'projector', {}],
      ['evs', 'tower', {}],
      ['vidcom2', 'tower', {}],
      ['aim', 'tower', {}],
      ['aim', 'projector', {}],
      ['uniform', 'tower', {}],
      ['random', 'tower', {}],
    ])('%s behind the %s, %o', async (reduction, stage, options) => {
      const due = settle(halves.cpu, reduction, { ...options, stage }, 2);
      const wanted = (await gather(due.onHost(), due.reads())).tokens;
      const { encoder, whole, reads } = settle(halves.cuda, reduction, { ...options, stage }, 2);
      const found = (await gather((await gatherVideoOnDevice(encoder, whole, undefined))!, reads())).tokens;
      // What is kept is as it was; a mean of halves is rounded to one, by at most 2^-11 of it.
      expect(found.positions).toEqual(wanted.positions);
      expect(found.sizes).toEqual(wanted.sizes);
      expect(found.report).toEqual(wanted.report);
      for (const part of ['local', 'global'] as const) {
        const { data } = wanted[part];
        const errors = found[part].data.map((value, i) => Math.abs(value - data[i]!));
        // The projector adds up some of these errors.
        const most = stage === 'tower' ? 2 ** -11 : 2 ** -8;
        expect(Math.max(...errors), part).toBeLessThanOrEqual(most * Math.max(...data.map(Math.abs)));
      }
    });
  });

  test('a tower on the host, a reducer that somebody made, and what is computed on the host alone', async () => {
    const [here, there] = [clip.cpu, clip.cuda].map((models) => settle(models, 'vcast', {}, 0)) as [Settled, Settled];
    expect(await gatherVideoOnDevice(here.encoder, here.whole, undefined)).toBeUndefined();
    const made = { ...there.whole, reducer: { ...there.whole.reducer } };
    expect(await gatherVideoOnDevice(there.encoder, made, undefined)).toBeUndefined();
    const mixed = { tower: clip.cuda.tower, projector: clip.cpu.projector! };
    const behind = settle(mixed, 'vcast', { stage: 'projector' }, 0);
    expect(await gatherVideoOnDevice(behind.encoder, behind.whole, undefined)).toBeUndefined();
    const reference = settle(clip.cuda, 'flashvid', { referenceCounts: true }, 0);
    expect(await gatherVideoOnDevice(reference.encoder, reference.whole, undefined)).toBeUndefined();
  });

  test('where there is no room for its tokens it is for the host; where there is none to reduce them, they come down', async () => {
    const due = settle(clip.cpu, 'flashvid', {}, 2);
    const wanted = await gather(due.onHost(), due.reads());
    const { encoder, whole, reads } = settle(clip.cuda, 'flashvid', {}, 2);
    const allocate = DeviceBuffer.allocate.bind(DeviceBuffer);
    const full = new LongVLMError('ERR_LONGVLM_CUDA_OOM', 'The GPU has not enough memory. Dispose what is not needed.');
    let fits = (dims: readonly number[]) => dims.length !== 3;
    const spied = vi.spyOn(DeviceBuffer, 'allocate').mockImplementation((type, dims, options) => {
      if (!fits(dims)) throw full;
      return allocate(type, dims, options);
    });
    try {
      expect(await gatherVideoOnDevice(encoder, whole, undefined)).toBeUndefined();
      fits = () => true;
      const gathering = (await gatherVideoOnDevice(encoder, whole, undefined))!;
      fits = ([rows]) => rows !== 2 + wanted.tokens.sizes.data.length;
      expect((await gather(gathering, reads())).tokens).toEqual(wanted.tokens);
    } finally {
      spied.mockRestore();
    }
  });

  test('an abort in the middle is the reason, and leaves nothing that the next video minds', async () => {
    const { encoder, whole, reads } = settle(clip.cuda, 'flashvid', {}, 2);
    const abort = new AbortController();
    const reason = new Error('enough');
    const gathering = (await gatherVideoOnDevice(encoder, whole, abort.signal, 4))!;
    const [first, second] = reads();
    await gathering.add(first!);
    const run = gathering.add(second!);
    abort.abort(reason);
    gathering.dispose();
    await expect(run).rejects.toBe(reason);
    await compare(clip, 'flashvid', {}, 2);
  });
});
