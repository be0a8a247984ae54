// What an import costs: `longvlm/kernels` alone, and the whole package until it is used.
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { runNode } from './childProcess.js';

const at = (path: string) => new URL(`../../dist/${path}`, import.meta.url);

/** The packages that a module of ours imports, when it is loaded, itself or through others of ours. */
function packagesOf(entry: string): string[] {
  const seen = new Set<string>();
  const packages = new Set<string>();
  const waiting = [at(entry)];
  for (let file = waiting.pop(); file; file = waiting.pop()) {
    if (seen.has(file.href)) continue;
    seen.add(file.href);
    for (const [, name] of readFileSync(file, 'utf8').matchAll(
      /^(?:import|export)\s(?:[^'"();]*\sfrom\s)?['"]([^'"]+)['"];/gm,
    )) {
      if (name!.startsWith('.')) waiting.push(new URL(name!, file));
      else if (!name!.startsWith('node:')) packages.add(name!);
    }
  }
  expect(seen.size).toBeGreaterThan(20);
  return [...packages].sort();
}

/** Imports a module in a process of its own, and says which threads and libraries there are then and after `use`. */
async function importing(entry: string, use = '') {
  const script = `import { readFileSync, readdirSync } from 'node:fs';
    const threads = () => readdirSync('/proc/self/task').length;
    // An import reads files, with threads of Node's own.
    await import('node:fs/promises').then(({ readFile }) => readFile('package.json'));
    const before = threads();
    const module = await import(${JSON.stringify(at(entry).href)});
    const started = threads() - before;
    ${use}
    const libraries = [...new Set(readFileSync('/proc/self/maps', 'utf8').match(/\\S+\\.(node|so)[.\\d]*$/gm) ?? [])];
    const named = ['onnxruntime', 'llama', 'ggml', 'cuda'].filter((name) => libraries.some((each) => each.toLowerCase().includes(name)));
    console.log(JSON.stringify({ started, named }));`;
  const { stdout, stderr } = await runNode(['--input-type=module', '-e', script]);
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

test('longvlm/kernels imports no package', () => {
  expect(packagesOf('kernels/index.js')).toEqual([]);
});

test('longvlm imports neither ONNX Runtime nor llama.cpp nor the service until they are used', () => {
  const packages = packagesOf('index.js');
  for (const name of ['onnxruntime-node', 'node-llama-cpp', 'fastify', 'ai']) expect(packages).not.toContain(name);
});

describe.skipIf(!existsSync('/proc/self/maps'))('in a process of its own', () => {
  test('longvlm/kernels starts no thread, and opens no library of another', async () => {
    const data = 'new Float32Array(64 * 8).fill(1)';
    const merge = `module.mergeTokensSync({ type: 'float32', data: ${data}, dims: [64, 8] }, { heads: 1, keep: 8 });`;
    expect(await importing('kernels/index.js')).toEqual({ started: 0, named: [] });
    expect((await importing('kernels/index.js', merge)).named).toEqual([]);
  });

  test('longvlm starts no thread either', async () => {
    expect(await importing('index.js')).toEqual({ started: 0, named: [] });
  });
});
