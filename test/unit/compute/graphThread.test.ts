import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { LongVLMError } from '../../../dist/base/errors.js';
import { float32Tensor } from '../../../dist/base/tensor.js';
import { GraphThread } from '../../../dist/compute/graphThread.js';

const script = new URL('../../fixtures/workers/graph.mjs', import.meta.url);

/** A thread, and its shared memory: [batches that were begun, batches that may end]. */
function started(weightsFolder?: string) {
  const shared = new Int32Array(new SharedArrayBuffer(8));
  const model = { bytes: new Uint8Array(shared.buffer), weightsFolder };
  const session = { device: 'cpu', threads: 1 };
  return { shared, thread: new GraphThread({ model, session, batch: 1 }, 'The service', script) };
}

/** What runs `name` on some rows of one value. */
const call = (name: string, ...values: number[]) => ({
  rows: values.length,
  inputs: { [name]: float32Tensor(Float32Array.from(values), [values.length, 1]) },
  outputs: { y: float32Tensor(new Float32Array(values.length), [values.length, 1]) },
});
const doubled = async (thread: GraphThread, ...values: number[]) => [
  ...(await thread.run(call('double', ...values))).y!.data,
];

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await setImmediate();
}

describe('GraphThread', () => {
  test('answers runs that overlap, each with its own outputs, also while it starts', async () => {
    const { thread } = started();
    expect(thread.device).toBeUndefined();
    expect(await Promise.all([1, 2, 3].map((value) => doubled(thread, value, -value)))).toEqual([
      [2, -2],
      [4, -4],
      [6, -6],
    ]);
    expect(thread.device).toBe('abacus');
    await thread.dispose();
  });

  test('brings errors over with class, code, message and cause', async () => {
    const { thread } = started();
    const error = await thread.run(call('fail', 1)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(LongVLMError);
    expect(error).toMatchObject({ code: 'ERR_LONGVLM_NOT_FINITE', message: 'tokens hold NaN' });
    expect((error as Error).cause).toBeInstanceOf(TypeError);
    expect(await doubled(thread, 4)).toEqual([8]);
    await thread.dispose();
  });

  test('throws what the start throws, to those who wait for it and to every run', async () => {
    const { thread } = started('start fails');
    const run = thread.run(call('double', 1));
    for (const promise of [thread.started, run])
      await expect(promise).rejects.toMatchObject({ name: 'RangeError', message: 'cannot start' });
    await expect(thread.run(call('double', 1))).rejects.toThrow('cannot start');
    await thread.dispose();
  });

  test('tells when the thread ends while it starts', async () => {
    const { thread } = started('start exits');
    await expect(thread.started).rejects.toMatchObject({
      code: 'ERR_LONGVLM_INFERENCE',
      message: "The service's worker thread ended unexpectedly, with code 4. Load it again.",
    });
    await thread.dispose();
  });

  test('rejects with the reason of an abort at once, stops before the next batch, and works on', async () => {
    const { thread, shared } = started();
    const [first, second] = [new AbortController(), new AbortController()];
    const run = thread.run(call('gated', 1, 2, 3), first.signal);
    // Waits behind the run that has to be let on.
    const queued = thread.run(call('gated', 1, 2, 3), second.signal);
    await until(() => Atomics.load(shared, 0) === 1);
    const reason = new Error('enough');
    for (const controller of [second, first]) controller.abort(reason);
    await expect(run).rejects.toBe(reason);
    await expect(queued).rejects.toBe(reason);
    expect(Atomics.load(shared, 0), 'rejected while the first batch was inside').toBe(1);
    Atomics.store(shared, 1, 100);
    expect(await doubled(thread, 1)).toEqual([2]);
    expect(Atomics.load(shared, 0), 'no other batch was begun').toBe(1);
    await expect(thread.run(call('double', 1), first.signal)).rejects.toBe(reason);
    await thread.dispose();
  });

  test.each([
    ['exit', /The service's worker thread ended unexpectedly, with code 3\. Load it again\./],
    ['throwLater', /The service's worker thread ended unexpectedly: outside of any run\. Load it again\./],
  ])('rejects every run when the thread ends by %s', async (name, message) => {
    const { thread } = started();
    const runs = [thread.run(call(name, 1)), thread.run(call('double', 1))];
    for (const run of runs) await expect(run).rejects.toMatchObject({ code: 'ERR_LONGVLM_INFERENCE', message });
    await expect(thread.run(call('double', 1))).rejects.toMatchObject({ code: 'ERR_LONGVLM_INFERENCE', message });
    await thread.dispose();
  });

  test('finishes the runs under way before it is disposed', async () => {
    const { thread, shared } = started();
    const runs = [thread.run(call('gated', 1)), doubled(thread, 21)];
    await until(() => Atomics.load(shared, 0) === 1);
    const disposing = thread.dispose();
    Atomics.store(shared, 1, 1);
    expect((await Promise.all(runs))[1]).toEqual([42]);
    await disposing;
    await thread.dispose();
  });
});
