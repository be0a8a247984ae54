import { execFile } from 'node:child_process';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { float32Tensor } from '../../../dist/base/tensor.js';
import { GraphBuilder, type OnnxModel } from '../../../dist/compute/graphBuilder.js';
import { type GraphSession, type OpenGraphOptions, ortRuntime } from '../../../dist/compute/runtime.js';
import { openSafetensors, writeSafetensors } from '../../../dist/files/safetensors.js';
import { sessionThreads } from '../../fixtures/graphs.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const runtime = ortRuntime({ threads: 1 });
const code = 'ERR_LONGVLM_INFERENCE';

/** y [n, 2] = x [n, 2], each row plus the sum of the rows that went through the graph with it. */
async function sums(): Promise<OnnxModel> {
  const graph = new GraphBuilder('sums');
  const x = graph.input('x', ['n', 2]);
  const sum = graph.node('ReduceSum', [x, graph.integers([0])], { keepdims: 1 });
  graph.output('y', graph.node('Add', [x, sum]), ['n', 2]);
  return graph.build();
}

const rows = (...values: number[]) => float32Tensor(Float32Array.from(values), [values.length / 2, 2]);
const empty = (count: number) => ({ y: float32Tensor(new Float32Array(count * 2), [count, 2]) });

describe('ortRuntime()', () => {
  let model: OnnxModel;
  let graph: GraphSession;
  const open = (options: Partial<OpenGraphOptions> = {}) => runtime.open(model, { name: 'The graph', ...options });
  const one = async (session: GraphSession) => [...(await session.run({ x: rows(1, 2) }, empty(1))).y!.data];

  beforeAll(async () => {
    model = await sums();
    graph = await open();
  });
  afterAll(() => graph.dispose());
  // That of `graph`: threads end a moment after their session is freed.
  const before = 1;
  beforeEach(() => expect.poll(sessionThreads).toBe(before));

  test('keeps the inputs, unless they are moved', async () => {
    const x = rows(1, 2, 3, 4);
    const wanted = rows(5, 8, 7, 10);
    expect(await graph.run({ x }, empty(2))).toEqual({ y: wanted });
    expect(x).toEqual(rows(1, 2, 3, 4));
    expect(await graph.run({ x }, empty(2), { move: true })).toEqual({ y: wanted });
    expect(x.data.buffer.byteLength, 'detached').toBe(0);
    // A view does not take along what lies around it.
    const around = Float32Array.of(9, 1, 2, 3, 4, 9);
    const view = float32Tensor(around.subarray(1, 5), [2, 2]);
    expect(await graph.run({ x: view }, empty(2), { move: true })).toEqual({ y: wanted });
    expect([...around]).toEqual([9, 1, 2, 3, 4, 9]);
  });

  test('writes into the memory of the outputs, which serves again', async () => {
    const memory = new Float32Array(6).fill(-1);
    const first = await graph.run({ x: rows(1, 2) }, { y: float32Tensor(memory.subarray(2, 4), [1, 2]) });
    expect(memory.buffer.byteLength, 'detached').toBe(0);
    const written = new Float32Array(first.y!.data.buffer);
    expect([...written]).toEqual([-1, -1, 2, 4, -1, -1]);
    const second = await graph.run({ x: rows(1, 2, 3, 4) }, { y: float32Tensor(written.subarray(0, 4), [2, 2]) });
    expect([...new Float32Array(second.y!.data.buffer)]).toEqual([5, 8, 7, 10, -1, -1]);
  });

  test('puts `batch` rows through the graph at once', async () => {
    const batched = await open({ batch: 2 });
    const { y } = await batched.run({ x: rows(1, 0, 2, 0, 3, 0, 4, 0, 5, 0) }, empty(5));
    expect([...y!.data]).toEqual([4, 0, 5, 0, 10, 0, 11, 0, 10, 0]);
    expect((await batched.run({ x: rows() }, empty(0))).y!.dims).toEqual([0, 2]);
    await batched.dispose();
  });

  test('refuses tensors that do not fit together, before it takes their buffers', async () => {
    const x = rows(1, 2);
    const { y } = empty(2);
    await expect(graph.run({ x }, { y: y! }, { move: true })).rejects.toMatchObject({
      name: 'RangeError',
      message: expect.stringMatching(/^Expected 1, the first axis of the first input, for y\.dims\[0\] but received 2/),
    });
    await expect(graph.run({ x: { ...x, dims: [1, 3] } }, empty(1), { move: true })).rejects.toMatchObject({
      name: 'RangeError',
      message: expect.stringMatching(/^Expected 3, as its dims say, for x\.data\.length but received 2/),
    });
    const aborted = { move: true, signal: AbortSignal.abort(new Error('no need')) };
    await expect(graph.run({ x }, empty(1), aborted)).rejects.toThrow('no need');
    expect([x.data.length, y.data.length]).toEqual([2, 4]);
  });

  test('tells of a run that ONNX Runtime refuses, and works on', async () => {
    const x = float32Tensor(new Float32Array(3), [1, 3]);
    await expect(graph.run({ x }, empty(1), { move: true })).rejects.toMatchObject({ code, cause: expect.any(Error) });
    await expect(graph.run({ x: rows(1, 2) }, { z: empty(1).y })).rejects.toMatchObject({
      code,
      message: expect.stringContaining('The graph has no output z'),
    });
    expect(await one(graph)).toEqual([2, 4]);
  });

  test('starts a thread with the first run when it is lazy, which its abort does not spoil', async () => {
    const lazy = await open({ lazy: true });
    expect([sessionThreads(), lazy.device]).toEqual([before, undefined]);
    const controller = new AbortController();
    const reason = new Error('enough');
    const run = lazy.run({ x: rows(1, 2) }, empty(1), { signal: controller.signal });
    controller.abort(reason);
    await expect(run).rejects.toBe(reason);
    expect(await Promise.all([one(lazy), one(lazy)])).toEqual([
      [2, 4],
      [2, 4],
    ]);
    expect([sessionThreads(), lazy.device]).toEqual([before + 1, 'cpu']);
    await lazy.dispose();
    await expect.poll(sessionThreads).toBe(before);
  });

  test('ends its thread when it is released, and starts one again with the next run', async () => {
    const own = await open();
    const run = one(own);
    await own.release();
    expect([own.device, own.disposed]).toEqual([undefined, false]);
    await expect.poll(sessionThreads).toBe(before);
    expect(await run).toEqual([2, 4]);
    expect(await one(own)).toEqual([2, 4]);
    expect(sessionThreads()).toBe(before + 1);
    await own.dispose();
    await own.release();
    await expect.poll(sessionThreads).toBe(before);
  });

  test('can be released while it starts: runs before and after get their results', async () => {
    const own = await open({ lazy: true });
    const first = one(own);
    const released = [own.release(), own.release()];
    expect(await Promise.all([first, one(own)])).toEqual([
      [2, 4],
      [2, 4],
    ]);
    await Promise.all(released);
    await own.dispose();
    await expect.poll(sessionThreads).toBe(before);
  });

  test('finishes what is under way when disposed, then refuses', async () => {
    const own = await open({ lazy: true });
    const run = one(own);
    const disposing = own[Symbol.asyncDispose]();
    expect(own.disposed).toBe(true);
    await expect(one(own)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_DISPOSED',
      message: 'The graph was disposed. Load it again.',
    });
    expect(await run).toEqual([2, 4]);
    await disposing;
    await own.dispose();
  });

  test('leaves no thread behind when it cannot be started, and tries again', async () => {
    const path = join(await temporaryFolder(), 'weight.safetensors');
    // So large that ONNX Runtime reads it from the file only when it starts.
    await writeSafetensors(path, { weight: { type: 'F32', shape: [64, 64], data: new Float32Array(64 * 64).fill(1) } });
    const builder = new GraphBuilder('weights');
    const weight = builder.weight((await openSafetensors(path)).tensors.get('weight')!);
    builder.output('y', builder.node('MatMul', [builder.input('x', ['n', 64]), weight]), ['n', 64]);
    const over = await builder.build();
    await rename(path, `${path}.away`);
    await expect(runtime.open(over, { name: 'The graph' })).rejects.toMatchObject({ code });
    await expect.poll(sessionThreads).toBe(before);
    const lazy = await runtime.open(over, { name: 'The graph', lazy: true });
    const run = () =>
      lazy.run(
        { x: float32Tensor(new Float32Array(64).fill(1), [1, 64]) },
        { y: float32Tensor(new Float32Array(64), [1, 64]) },
      );
    await expect(run()).rejects.toMatchObject({ code });
    await expect.poll(sessionThreads).toBe(before);
    await rename(`${path}.away`, path);
    expect((await run()).y!.data[0]).toBe(64);
    await lazy.dispose();
  });

  test('stops at an abort while it starts', async () => {
    const reason = new Error('enough');
    await expect(open({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const opening = open({ signal: controller.signal });
    controller.abort(reason);
    await expect(opening).rejects.toBe(reason);
    await expect.poll(sessionThreads).toBe(before);
  });

  test('refuses wrong options, and a device that is not there', async () => {
    expect(() => ortRuntime({ threads: 0 })).toThrow(/integer between 1 and 1024 for threads/);
    expect(() => ortRuntime({ device: 3 as never })).toThrow(/string for device/);
    await expect(open({ batch: 0 })).rejects.toMatchObject({
      name: 'RangeError',
      message: expect.stringMatching(/integer for batch/),
    });
    const abacus = ortRuntime({ device: 'abacus' });
    expect(abacus.device).toBe('abacus');
    await expect(abacus.open(model, { name: 'The graph' })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_UNSUPPORTED',
      message: expect.stringMatching(/^Device 'abacus' is not available/),
    });
  });
});

describe('an abort', () => {
  const size = 64;
  let graph: GraphSession;
  const tensor = (count: number) => float32Tensor(new Float32Array(count * size * size), [count, size, size]);
  /** Puts `count` rows through the graph at once. */
  const run = (count: number, signal?: AbortSignal) =>
    graph.run({ x: tensor(count) }, { y: tensor(count) }, { signal });
  // Minutes of work, of which each step takes a fraction of a second.
  const minutes = 4000;

  beforeAll(async () => {
    const builder = new GraphBuilder('many steps');
    let x = builder.input('x', ['n', size, size]);
    for (let i = 0; i < 1000; i++) x = builder.node('MatMul', [x, x]);
    builder.output('y', x, ['n', size, size]);
    graph = await runtime.open(await builder.build(), { name: 'The graph' });
  });
  afterAll(() => graph.dispose());

  test('ends a run in the middle, and those that wait, with its reason; others go on', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const runs = [run(minutes, controller.signal), run(minutes, controller.signal)];
    const after = run(1);
    // The first is at work by then.
    await setTimeout(200);
    controller.abort(reason);
    for (const each of runs) await expect(each).rejects.toBe(reason);
    expect((await after).y!.dims).toEqual([1, size, size]);
    await expect(run(1, controller.signal)).rejects.toBe(reason);
  });

  test('leaves the session to be disposed at once', async () => {
    const own = await runtime.open(await sums(), { name: 'The graph' });
    const controller = new AbortController();
    const many = run(minutes, controller.signal);
    const small = own.run({ x: rows(1, 2) }, empty(1), { signal: controller.signal });
    controller.abort();
    await expect(many).rejects.toThrow(/abort/);
    await small.catch(() => {});
    await own.dispose();
    await graph.release();
    expect((await run(1)).y!.dims).toEqual([1, size, size]);
  });
});

describe('the process of a graph', () => {
  /** Runs a script that has `graph`, and `run(rows)`, of which each row is a micro-batch of some ten milliseconds. */
  async function inProcess(script: string): Promise<{ code: number; stdout: string; stderr: string }> {
    const module = (path: string) => JSON.stringify(fileURLToPath(new URL(`../../../dist/${path}`, import.meta.url)));
    const preamble = `
      import { GraphBuilder } from ${module('compute/graphBuilder.js')};
      import { ortRuntime } from ${module('compute/runtime.js')};
      const size = 256;
      const builder = new GraphBuilder('squares');
      let x = builder.input('x', [1, size, size]);
      for (let i = 0; i < 100; i++) x = builder.node('MatMul', [x, x]);
      builder.output('y', x, [1, size, size]);
      const graph = await ortRuntime({ threads: 1 }).open(await builder.build(), { name: 'The graph', batch: 1 });
      const tensor = (rows) => ({ type: 'float32', data: new Float32Array(rows * size * size), dims: [rows, size, size] });
      const run = (rows) => graph.run({ x: tensor(rows) }, { y: tensor(rows) }, { move: true });`;
    const args = ['--input-type=module', '-e', preamble + script];
    return promisify(execFile)(process.execPath, args, { timeout: 30_000 }).then(
      (streams) => ({ code: 0, ...streams }),
      ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
    );
  }

  test('ends although it was not disposed', async () => {
    const ended = await inProcess(`console.log((await run(1)).y.dims.join());`);
    expect(ended).toEqual({ code: 0, stdout: '1,256,256\n', stderr: '' });
  });

  test('survives process.exit() while a run is under way', async () => {
    // When the first run is done, the second is about to enter ONNX Runtime, where it stays most of the time.
    const ended = await inProcess(`
      const first = run(1);
      void run(20);
      await first;
      for (let i = 0; i < 1000; i++) await new Promise(setImmediate);
      process.exit(7);`);
    expect(ended).toEqual({ code: 7, stdout: '', stderr: '' });
  });
});
