// Work for the kernels waits in a queue of its own, for threads of its own.
import { readFile } from 'node:fs/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { float32Tensor } from '../../dist/base/tensor.js';
import { concurrency, mergeTokens } from '../../dist/kernels/index.js';
import { runNode } from './childProcess.js';
import { instructionSets, useInstructionSet } from './instructionSets.js';
import { randomTensor } from './tensors.js';

const kernels = new URL('../../dist/kernels/index.js', import.meta.url).href;
// Minutes of work with portable kernels.
const huge = float32Tensor(new Float32Array(300_000 * 64).fill(1), [1, 300_000, 64]);
const options = { heads: 1, keep: 3 };

/** Starts more calls than can run at once; `end` stops them. */
function keepBusy() {
  useInstructionSet('portable');
  const controller = new AbortController();
  const { signal } = controller;
  const calls = Promise.allSettled(Array.from({ length: 12 }, () => mergeTokens(huge, { ...options, signal })));
  return async () => {
    controller.abort();
    useInstructionSet(instructionSets.at(-1)!);
    return (await calls).map(({ status }) => status);
  };
}

describe('while calls of minutes wait for their turn', () => {
  test('files can be read', async () => {
    const end = keepBusy();
    expect(await readFile(new URL('../../package.json', import.meta.url), 'utf8')).toMatch(/"longvlm"/);
    expect(await end()).toEqual(new Array(12).fill('rejected'));
  });

  test('one that waits, too, rejects as soon as its signal aborts', async () => {
    const end = keepBusy();
    const controller = new AbortController();
    const last = mergeTokens(randomTensor(1, [2, 60, 16]), { ...options, signal: controller.signal });
    const outcome = last.then(
      () => 'it ran',
      (error: unknown) => error,
    );
    controller.abort('not needed');
    expect(await outcome).toBe('not needed');
    await end();
  });

  const start = `const { mergeTokens } = await import(${JSON.stringify(kernels)});
    const tokens = { type: 'float32', data: new Float32Array(300_000 * 64).fill(1), dims: [300_000, 64] };
    for (let i = 0; i < 12; i++) void mergeTokens(tokens, { heads: 1, keep: 3 });`;
  const env = { LONGVLM_MAX_ISA: 'portable' };

  test('a process and a worker thread end at once', async () => {
    const main = ['--input-type=module', '-e', `${start} setTimeout(() => process.exit(7), 50);`];
    expect(await runNode(main, env)).toEqual({ code: 7, stdout: '', stderr: '' });
    const worker = `import { Worker } from 'node:worker_threads';
      const source = ${JSON.stringify(`${start} (await import('node:worker_threads')).parentPort.postMessage(0);`)};
      const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(source)));
      worker.once('message', async () => console.log(await worker.terminate()));`;
    expect(await runNode(['--input-type=module', '-e', worker], env)).toEqual({ code: 0, stdout: '1\n', stderr: '' });
  });
});

describe('concurrency()', () => {
  afterEach(() => {
    concurrency(0);
  });

  test('tells and sets the number of threads, and results stay the same', async () => {
    const usual = concurrency();
    const tokens = randomTensor(3, [3, 200, 16]);
    const expected = await mergeTokens(tokens, { heads: 2, keep: 9 });
    for (const threads of [1, 5, 2]) {
      expect(concurrency(threads)).toBe(threads);
      expect(concurrency()).toBe(threads);
      const calls = Array.from({ length: 6 }, () => mergeTokens(tokens, { heads: 2, keep: 9 }));
      for (const merged of await Promise.all(calls)) expect(merged).toEqual(expected);
    }
    expect(concurrency(0)).toBe(usual);
  });

  test('refuses other numbers', () => {
    expect(() => concurrency(1025)).toThrow(/^Expected integer between 0 and 1024 for threads but received 1025/);
    expect(() => concurrency(-1)).toThrow(RangeError);
    expect(() => concurrency('2' as never)).toThrow(TypeError);
  });

  test.runIf(process.platform === 'linux')(
    'starts no thread before the first call, then no more than it says',
    async () => {
      const script = `import { readdirSync, readFileSync } from 'node:fs';
      import { concurrency, mergeTokens } from ${JSON.stringify(kernels)};
      const threads = () => readdirSync('/proc/self/task').filter((id) => readFileSync('/proc/self/task/' + id + '/comm', 'utf8') === 'longvlm\\n').length;
      const tokens = { type: 'float32', data: new Float32Array(8 * 90 * 64).fill(1), dims: [8, 90, 64] };
      const merge = () => Promise.all(Array.from({ length: 9 }, () => mergeTokens(tokens, { heads: 1, keep: 3 })));
      const counts = [concurrency(), threads()];
      await merge();
      counts.push(threads(), concurrency(5));
      await merge();
      counts.push(threads());
      console.log(counts.join(' '));`;
      const child = await runNode(['--input-type=module', '-e', script], { LONGVLM_NUM_THREADS: '3' });
      expect(child).toEqual({ code: 0, stdout: '3 0 3 5 5\n', stderr: '' });
    },
  );
});
