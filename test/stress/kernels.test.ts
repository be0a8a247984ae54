import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { mergeTokens, mergeTokensSync } from '../../dist/kernels/index.js';
import { runNode } from '../kernels/childProcess.js';
import { randomTensor } from '../kernels/tensors.js';

const kernels = new URL('../../dist/kernels/index.js', import.meta.url).href;

function startWorker(body: string, workerData: unknown): Worker {
  const source = `import { parentPort, workerData } from 'node:worker_threads';
    const { mergeTokens, mergeTokensSync } = await import(${JSON.stringify(kernels)});
    ${body}`;
  return new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), { workerData });
}

/** The next message of a worker; rejects when the worker fails. */
async function messageOf(worker: Worker): Promise<unknown> {
  const [message] = await once(worker, 'message');
  return message;
}

describe('the kernels', () => {
  test('work in worker threads that come and go', async () => {
    const tokens = randomTensor(1, [3, 200, 32]);
    const expected = mergeTokensSync(tokens, { heads: 2, keep: 9 });
    for (let round = 0; round < 3; round++) {
      const workers = Array.from({ length: 4 }, (_, index) =>
        startWorker(
          `parentPort.postMessage(await ${index % 2 ? 'mergeTokens' : 'mergeTokensSync'}(workerData, { heads: 2, keep: 9 }));`,
          tokens,
        ),
      );
      for (const result of await Promise.all(workers.map(messageOf))) expect(result).toEqual(expected);
      await Promise.all(workers.map((worker) => worker.terminate()));
    }
  });

  test('leave with the last worker thread where the main thread never loads them', async () => {
    const worker = `const { mergeTokensSync } = await import(${JSON.stringify(kernels)});
      mergeTokensSync({ type: 'float32', data: new Float32Array(90 * 64).fill(1), dims: [9, 10, 64] }, { heads: 1, keep: 3 });`;
    const main = `const { Worker } = await import('node:worker_threads');
      const { once } = await import('node:events');
      for (let i = 0; i < 4; i++)
        await once(new Worker(new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(worker)}))), 'exit');`;
    expect(await runNode(['--input-type=module', '-e', main])).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  test('survive the end of a worker thread in the middle of work', async () => {
    const tokens = randomTensor(2, [4, 1500, 64]);
    for (let round = 0; round < 5; round++) {
      const worker = startWorker(
        `const mergeOn = async () => {
           while (true) {
             parentPort.postMessage('merging');
             await mergeTokens(workerData, { heads: 1, keep: 9 });
           }
         };
         await Promise.all([mergeOn(), mergeOn(), mergeOn()]);`,
        tokens,
      );
      for (let message = 0; message <= 3 * round; message++) await messageOf(worker);
      await worker.terminate();
    }
    expect((await mergeTokens(tokens, { heads: 1, keep: 9 })).tokens.dims).toEqual([4, 9, 64]);
  });

  test('give the same results when many calls run at once', async () => {
    const inputs = Array.from({ length: 8 }, (_, seed) => randomTensor(seed, [1 + (seed % 3), 100 + seed, 24]));
    const expected = inputs.map((tokens) => mergeTokensSync(tokens, { heads: 3, keep: 7 }));
    const calls = Array.from({ length: 96 }, (_, call) => mergeTokens(inputs[call % 8]!, { heads: 3, keep: 7 }));
    for (const [call, merged] of (await Promise.all(calls)).entries()) expect(merged).toEqual(expected[call % 8]);
  });

  test('leave the process free to end with work under way', async () => {
    const start = `const { mergeTokens } = await import(${JSON.stringify(kernels)});
      const tokens = { type: 'float32', data: new Float32Array(4000 * 64).fill(1), dims: [4000, 64] };
      for (let i = 0; i < 8; i++) void mergeTokens(tokens, { heads: 1, keep: 9 });`;
    expect(await runNode(['--input-type=module', '-e', `${start} process.exit(7);`])).toMatchObject({
      code: 7,
      stderr: '',
    });
    expect(await runNode(['--input-type=module', '-e', start])).toMatchObject({ code: 0, stderr: '' });
  });

  test('keep nothing alive, whether calls end, fail or are cancelled', async () => {
    const child = await runNode(['--expose-gc', 'test/stress/kernelsMemory.mjs']);
    expect(child).toMatchObject({ code: 0, stderr: '' });
    const { arrayBuffers, rss } = JSON.parse(child.stdout);
    // 240 calls over 6.4 MB each: kept alive, they would hold more than 1 GB.
    expect(arrayBuffers).toBeLessThan(64e6);
    expect(rss).toBeLessThan(200e6);
  });
});
