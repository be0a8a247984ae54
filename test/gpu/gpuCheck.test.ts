// scripts/gpu-check, as far as it can run without a GPU.
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../fixtures/vision/index.js';
import { repository, runNode } from '../kernels/childProcess.js';

type Results = { emulated: boolean; steps: Record<string, { status: string; reason?: string; found?: object }> };

async function check(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const out = await temporaryFolder();
  const ended = await runNode(['scripts/gpu-check/run.mjs', ...args, '--out', out], env);
  const read = async (): Promise<Results> => JSON.parse(await readFile(join(out, 'emulated-on-the-cpu.json'), 'utf8'));
  return { ...ended, read };
}

const statuses = ({ steps }: Results) =>
  Object.fromEntries(Object.entries(steps).map(([name, { status }]) => [name, status]));

test('every step runs by emulation, and says neither a time nor that a GPU was there', async () => {
  const { code, stdout, read } = await check(['--emulated']);
  expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining('EMULATED ON THE CPU') });
  const results = await read();
  const passed = [
    'machine',
    'golden',
    'weights',
    'bound',
    'towers',
    'timings',
    'reducers',
    'float16',
    'copies',
    'reductions',
    'whole',
    'repeats',
    'exits',
  ];
  expect(statuses(results)).toEqual({
    ...Object.fromEntries(passed.map((name) => [name, 'passed'])),
    kernels: 'skipped',
    sanitizer: 'skipped',
  });
  expect(results.emulated).toBe(true);
  expect(JSON.stringify(Object.values(results.steps).map(({ found }) => found ?? {}))).not.toMatch(
    /milliseconds|medianUs/i,
  );
  // 20 frames of 56 px; 15 embeddings of 32 values, and 16 bytes of a report on merging and on pooling.
  expect(results.steps.copies?.found).toMatchObject({ counted: { up: 188160, down: 1920 + 32, across: 0, other: 0 } });
}, 900_000);

test('what fails is noted, and the next step begins', async () => {
  const { code, read } = await check(['--emulated', '--only', 'golden,bound'], { LONGVLM_ONNXRUNTIME: '/nowhere' });
  expect(code).toBe(1);
  const results = await read();
  expect(statuses(results)).toEqual({ machine: 'failed', golden: 'passed', bound: 'failed' });
  expect(results.steps.bound?.reason).toContain('there is no file /nowhere');
}, 900_000);

test('steps for which no time is left are not run, which is no success', async () => {
  const { code, read } = await check(['--emulated', '--only', 'golden,kernels', '--minutes', '0.02']);
  expect(code).toBe(1);
  const { steps } = await read();
  expect(steps.kernels).toMatchObject({ status: 'not run', reason: 'no time left' });
}, 900_000);

test('without a GPU each step says so', async () => {
  const { code, stdout } = await check([], { CUDA_VISIBLE_DEVICES: '' });
  expect(code).toBe(2);
  expect(stdout.match(/^no GPU +\w+/gm)).toHaveLength(14);
  const mistaken = await check(['--only', 'golden'], {
    LONGVLM_CUDA_LIBRARY: 'build/cuda/liblongvlm_cuda_emulated.so',
  });
  expect(mistaken.code).toBe(2);
  expect(mistaken.stdout).toContain('needs --emulated');
}, 900_000);

test('a library packed for one architecture keeps the machine code of that one, and all else', async () => {
  const module = pathToFileURL(join(repository, 'scripts/gpu-check/fatBinaries.mjs')).href;
  const { keepArchitecture } = (await import(module)) as { keepArchitecture(bytes: Buffer, of: number): number };
  const entry = (architecture: number, content: string) => {
    const bytes = Buffer.alloc(64 + content.length);
    bytes.writeUInt16LE(2, 0);
    bytes.writeUInt32LE(64, 4);
    bytes.writeBigUInt64LE(BigInt(content.length), 8);
    bytes.writeUInt32LE(architecture, 28);
    bytes.write(content, 64);
    return bytes;
  };
  const fat = (...entries: Buffer[]) => {
    const header = Buffer.from('50ed55ba01001000'.padEnd(32, '0'), 'hex');
    header.writeBigUInt64LE(BigInt(Buffer.concat(entries).length), 8);
    return Buffer.concat([header, ...entries]);
  };
  const text = (bytes: Buffer) => bytes.toString('latin1').replace(/[^a-z.]/g, '');
  const library = Buffer.concat([
    Buffer.from('before'),
    fat(entry(80, 'of.eighty'), entry(90, 'of.ninety')),
    // What only begins like one.
    Buffer.from('50ed55ba', 'hex'),
    Buffer.from('between'),
    fat(entry(90, 'more'), entry(120, 'others')),
    Buffer.from('after'),
  ]);
  const { length } = library;
  expect(keepArchitecture(library, 90)).toBe('of.ninetymore'.length);
  expect(library).toHaveLength(length);
  for (const kept of ['before', 'of.ninety', 'between', 'more', 'after']) expect(text(library)).toContain(kept);
  for (const gone of ['eighty', 'others']) expect(text(library)).not.toContain(gone);
  expect(() => keepArchitecture(library, 75)).toThrow('no machine code for compute capability 7.5');
});

test('copies are counted wherever a library has the addresses of the driver from', async () => {
  const folder = await temporaryFolder();
  const compile = (source: string, output: string, ...flags: string[]) =>
    promisify(execFile)('c++', ['-std=c++20', ...flags, '-o', join(folder, output), join(repository, source)]);
  const shared = ['-shared', '-fPIC'];
  await compile('scripts/gpu-check/count_copies.cc', 'count.so', '-O2', '-fvisibility=hidden', ...shared);
  await compile('test/gpu/copyingProgram.cc', 'libcuda.so.1', '-DDRIVER', ...shared);
  await compile('test/gpu/copyingProgram.cc', 'program');
  const log = join(folder, 'copies');
  const env = { LD_LIBRARY_PATH: folder, LD_PRELOAD: join(folder, 'count.so'), LONGVLM_COPIES: log };
  await promisify(execFile)(join(folder, 'program'), { env });
  expect((await readFile(log, 'utf8')).trim().split('\n')).toEqual([
    'up 100 cuMemcpyHtoDAsync',
    'up 101 cuMemcpyHtoDAsync',
    'down 102 cuMemcpyDtoH',
    'up 103 cuMemcpyAsync',
    'down 104 cuMemcpyAsync',
    'across 105 cuMemcpyAsync',
    'host 106 cuMemcpyAsync',
    'other 0 cuMemcpy2DAsync',
    'across 107 cuMemcpyDtoD',
  ]);
});
