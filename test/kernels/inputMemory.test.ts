// What a caller does to the memory of an input while other threads read it. Each case runs in a process of its own: before, it
// ended by a signal.
import { describe, expect, test } from 'vitest';
import { runNode } from './childProcess.js';

const at = (path: string) => JSON.stringify(new URL(`../../dist/${path}`, import.meta.url).href);

/** Merges in a child process, while `take(tokens)` runs; resolves to whether the result is that of untouched tokens. */
async function merging(make: string, take: string, native = '') {
  const script = `import { mergeTokens, mergeTokensSync } from ${at('kernels/index.js')};
    import { binding } from ${at('binding.js')};
    import { isDeepStrictEqual } from 'node:util';
    import { MessageChannel } from 'node:worker_threads';
    ${native}
    const length = 4 * 1280 * 256;
    const fill = (array) => { for (let i = 0; i < length; i++) array[i] = (i * 7) % 13; return array; };
    const tensor = (data) => ({ type: 'float32', data, dims: [4, 1280, 256] });
    const options = { heads: 4, keep: 30 };
    const expected = mergeTokensSync(tensor(fill(new Float32Array(length))), options);
    const same = [];
    for (let round = 0; round < 4; round++) {
      const made = (() => { ${make} })();
      fill(made.array);
      const merged = mergeTokens(tensor(made.array), options);
      (() => { ${take} })();
      globalThis.gc();
      // Memory that was freed would be used again.
      const others = Array.from({ length: 3 }, () => new Float32Array(length).fill(1e30));
      const { tokens, assignment } = await merged;
      same.push(others.length === 3 && isDeepStrictEqual({ tokens, assignment }, { tokens: expected.tokens, assignment: expected.assignment }));
    }
    console.log(same.join());`;
  return await runNode(['--expose-gc', '--input-type=module', '-e', script]);
}

const fine = { code: 0, stdout: 'true,true,true,true\n', stderr: '' };
const array = 'const array = new Float32Array(length); return { array };';
const structured = 'structuredClone(made.array.buffer, { transfer: [made.array.buffer] });';

describe('the memory of tokens that are being merged', () => {
  test('may be transferred away', async () => {
    expect(await merging(array, structured)).toEqual(fine);
  });

  test('may be posted to another thread, which drops it', async () => {
    const post = `const { port1, port2 } = new MessageChannel();
      port1.postMessage(made.array, [made.array.buffer]); port2.close(); port1.close();`;
    expect(await merging(array, post)).toEqual(fine);
  });

  test('may be that of a WebAssembly memory that grows', async () => {
    const make = `const memory = new WebAssembly.Memory({ initial: 81 });
      return { memory, array: new Float32Array(memory.buffer, 64, length) };`;
    expect(await merging(make, 'made.memory.grow(1000);')).toEqual(fine);
  });

  test('may be shared and grow', async () => {
    const make = `const shared = new SharedArrayBuffer(length * 4, { maxByteLength: length * 64 });
      return { shared, array: new Float32Array(shared) };`;
    expect(await merging(make, 'made.shared.grow(length * 64);')).toEqual(fine);
  });

  test('is copied where native code cannot hold it', async () => {
    const cannot = 'binding().holdsMemory = () => false;';
    expect(await merging(array, structured, cannot)).toEqual(fine);
    // A copy does not change with what it was made of.
    expect(await merging(array, 'made.array.fill(3);', cannot)).toEqual(fine);
  });

  test('is held here', async () => {
    const script = `import { binding } from ${at('binding.js')}; console.log(binding().holdsMemory());`;
    const { stdout } = await runNode(['--input-type=module', '-e', script]);
    expect(stdout).toBe(`${process.platform === 'linux'}\n`);
  });
});
