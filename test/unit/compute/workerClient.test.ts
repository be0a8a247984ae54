import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { LongVLMError } from '../../../dist/base/errors.js';
import { WorkerClient } from '../../../dist/compute/workerClient.js';

const script = new URL('../../fixtures/workers/service.mjs', import.meta.url);
const start = (data: object = {}, signal?: AbortSignal) => WorkerClient.start(script, data, 'The service', signal);

describe('WorkerClient', () => {
  test('answers calls that overlap, each with its own answer', async () => {
    const client = await start();
    const answers = await Promise.all([1, 2, 3].map((value) => client.call('double', [value])));
    expect(answers).toEqual([[2], [4], [6]]);
    await client.dispose();
  });

  test('brings errors over with class, code, message and cause', async () => {
    const client = await start();
    const error = await client.call('fail', null).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(LongVLMError);
    expect(error).toMatchObject({ code: 'ERR_LONGVLM_NOT_FINITE', message: 'tokens hold NaN' });
    expect((error as Error).cause).toBeInstanceOf(TypeError);
    expect(await client.call('double', [4])).toEqual([8]);
    await client.dispose();
  });

  test('throws what the start throws', async () => {
    await expect(start({ startFails: true })).rejects.toMatchObject({ name: 'RangeError', message: 'cannot start' });
    await expect(start({}, AbortSignal.abort(new Error('no need')))).rejects.toThrow('no need');
  });

  test('rejects with the reason of an abort at once, tells the worker, and works on', async () => {
    const client = await start();
    const [first, second] = [new AbortController(), new AbortController()];
    const started = new Int32Array(new SharedArrayBuffer(4));
    const call = client.call('untilAborted', started, { signal: first.signal });
    // Waits behind the call that never ends by itself.
    const queued = client.call('untilAborted', started, { signal: second.signal });
    while (Atomics.load(started, 0) === 0) await setImmediate();
    const reason = new Error('enough');
    for (const controller of [second, first]) controller.abort(reason);
    await expect(call).rejects.toBe(reason);
    await expect(queued).rejects.toBe(reason);
    await expect(client.call('double', [1], { signal: first.signal })).rejects.toBe(reason);
    expect(await client.call('double', [1])).toEqual([2]);
    expect(started[0], 'the queued call was dropped').toBe(1);
    await client.dispose();
  });

  test.each([
    ['exit', /The service's worker thread ended unexpectedly, with code 3\. Load it again\./],
    ['throwLater', /The service's worker thread ended unexpectedly: outside of any call\. Load it again\./],
  ])('rejects every call when the thread ends by %s', async (method, message) => {
    const client = await start();
    const calls = [client.call(method, null), client.call('double', [1])];
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'ERR_LONGVLM_INFERENCE', message });
    await expect(client.call('double', [1])).rejects.toMatchObject({ code: 'ERR_LONGVLM_INFERENCE', message });
    await client.dispose();
  });

  test('finishes the calls under way before it is disposed, and takes no more', async () => {
    const client = await start();
    const call = client.call('double', [21]);
    const disposing = client.dispose();
    expect(client.disposed).toBe(true);
    await expect(client.call('double', [1])).rejects.toMatchObject({
      code: 'ERR_LONGVLM_DISPOSED',
      message: 'The service was disposed. Load it again.',
    });
    expect(await call).toEqual([42]);
    await disposing;
    await client.dispose();
  });
});
