import { execFile } from 'node:child_process';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const module = (path: string) => JSON.stringify(fileURLToPath(new URL(`../../../dist/${path}`, import.meta.url)));
const throughUs = `
  const { GraphBuilder } = await import(${module('compute/graphBuilder.js')});
  const { ortRuntime } = await import(${module('compute/runtime.js')});
  const builder = new GraphBuilder('same');
  builder.output('y', builder.input('x', ['n', 1]), ['n', 1]);
  const graph = await ortRuntime({ threads: 1 }).open(await builder.build(), { name: 'The graph' });
  const one = () => ({ type: 'float32', data: new Float32Array(1), dims: [1, 1] });
  await graph.run({ x: one() }, { y: one() });`;
const throughOthers = `
  const { default: ort } = await import('onnxruntime-node');
  await ort.InferenceSession.create(new Uint8Array(8)).catch(() => {});`;

/** What a process writes into its home and its folder of temporary files, and how it ends. */
async function written(script: string, ...args: string[]): Promise<string[]> {
  const folder = await temporaryFolder();
  // Nothing else: ONNX Runtime is silent where a variable says that this is CI.
  const env = { PATH: process.env.PATH, HOME: join(folder, 'home'), TMPDIR: join(folder, 'tmp') };
  for (const path of [env.HOME, env.TMPDIR]) await mkdir(path);
  await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script, ...args], { env });
  return readdir(folder, { recursive: true });
}

test('ONNX Runtime collects nothing, as it does by itself', async () => {
  expect(await written(throughUs)).toEqual(['home', 'tmp']);
  expect(await written(throughOthers)).toContainEqual(expect.stringMatching(/onnxruntime\.db/));
});

test('a long command line does no harm', async () => {
  expect(await written(throughUs, 'word '.repeat(20_000))).toEqual(['home', 'tmp']);
});
