import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../..', import.meta.url));

/** A made-up repository that every check passes: path and text of each file. */
const clean = {
  'src/base/errors.ts': 'export class BaseError extends Error {}\n',
  'src/files/zip.ts': "import { parse } from 'valibot';\nexport const read = parse;\n",
  'src/tower/tower.ts': "import type { BaseError } from '../base/errors.js';\nexport type Failure = BaseError;\n",
  'src/index.ts': "export { BaseError } from './base/errors.js';\nexport type { Failure } from './tower/tower.js';\n",
  'training/story.py': 'import sys\n\nimport world\n\nprint(world, sys.argv)\n',
  'training/world.py': 'RED = 1\n',
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'longvlm-checks-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Writes the made-up repository with some files added or changed; gives its root. */
async function repository(changes: Record<string, string> = {}): Promise<string> {
  const place = await mkdtemp(join(folder, 'repository-'));
  for (const [path, text] of Object.entries({ ...clean, ...changes })) {
    await mkdir(join(place, dirname(path)), { recursive: true });
    await writeFile(join(place, path), text);
  }
  for (const name of ['tsconfig.json', 'package.json']) await cp(join(root, name), join(place, name));
  return place;
}

function run(command: string, args: string[], cwd: string, env = process.env) {
  return new Promise<{ code: number; output: string }>((resolve, reject) => {
    execFile(command, args, { cwd, env }, (error, stdout, stderr) => {
      if (error && typeof error.code !== 'number') reject(error);
      else resolve({ code: Number(error?.code ?? 0), output: `${stdout}${stderr}` });
    });
  });
}

describe('the import table', () => {
  /** What dependency-cruiser says of the made-up repository with some changes, a line for each violation. */
  async function check(changes?: Record<string, string>) {
    const config = join(root, '.dependency-cruiser.mjs');
    const args = ['--config', config, 'src', '--output-type', 'err', '--no-progress'];
    const { code, output } = await run(join(root, 'node_modules/.bin/depcruise'), args, await repository(changes));
    const violations = [...output.matchAll(/error (\S+: \S+(?: →\s+\S+)*)/g)];
    return { code, violations: violations.map(([, text]) => text?.replaceAll(/\s+/g, ' ')).sort() };
  }

  test('lets a tree pass that keeps to it', async () => {
    expect(await check()).toEqual({ code: 0, violations: [] });
  });

  test('rejects imports upwards, cycles, packages in wrong folders and folders without a line, each by its file', async () => {
    const { code, violations } = await check({
      'src/base/upward.ts': "import { read } from '../files/zip.js';\nexport const up = read;\n",
      'src/base/upwardType.ts': "export type { read } from '../files/zip.js';\n",
      'src/video/beside.ts': "export { read } from '../files/zip.js';\n",
      'src/base/hen.ts': "import type { Egg } from './egg.js';\nexport type Hen = { from: Egg };\n",
      'src/base/egg.ts': "import type { Hen } from './hen.js';\nexport type Egg = { from: Hen };\n",
      'src/base/draw.ts': "export { SingleBar } from 'cli-progress';\n",
      'src/tower/model.ts': "export type Model = typeof import('node-llama-cpp');\n",
      'src/base/pad.ts': "export { default as pad } from 'left-pad';\n",
      'src/misc/helpers.ts': 'export const help = 1;\n',
      'src/helpers.ts': 'export const help = 1;\n',
      'src/base/outside.ts': "export { help } from '../../scripts/help.mjs';\n",
      'scripts/help.mjs': 'export const help = 1;\n',
    });
    expect(violations).toEqual(
      [
        'imports-of-base: src/base/upward.ts → src/files/zip.ts',
        'imports-of-base: src/base/upwardType.ts → src/files/zip.ts',
        'imports-of-video: src/video/beside.ts → src/files/zip.ts',
        'no-cycles: src/base/egg.ts → src/base/hen.ts → src/base/egg.ts',
        'users-of-cli-progress: src/base/draw.ts → cli-progress',
        'users-of-node-llama-cpp: src/tower/model.ts → node-llama-cpp',
        'no-other-packages: src/base/pad.ts → left-pad',
        'listed: src/misc/helpers.ts',
        'listed: src/helpers.ts',
        'nothing-outside-src: src/base/outside.ts → scripts/help.mjs',
      ].sort(),
    );
    expect(code).not.toBe(0);
  });
});

describe('check-sources', () => {
  const lines = (count: number) => 'export {};\n'.repeat(count);
  const check = async (changes: Record<string, string>) =>
    run(process.execPath, [join(root, 'scripts/check-sources.mjs'), await repository(changes)], root);

  test('lets sources of 400 lines pass, and tests of more', async () => {
    const passed = await check({ 'src/base/long.ts': lines(400), 'test/long.test.ts': lines(401) });
    expect(passed).toEqual({ code: 0, output: '' });
  });

  test('rejects sources of 401 lines, and an index that does more than re-export', async () => {
    const { code, output } = await check({
      'src/base/long.ts': lines(401),
      'cuda/src/long.cu': '//\n'.repeat(401),
      'src/index.ts': `${clean['src/index.ts']}export const answer = 42;\n`,
    });
    expect(output).toContain('src/base/long.ts has 401 lines');
    expect(output).toContain('cuda/src/long.cu has 401 lines');
    expect(output).toContain('src/index.ts:3');
    expect(output.trim().split('\n')).toHaveLength(3);
    expect(code).not.toBe(0);
  });

  test('rejects instanceof of what other realms have, too', async () => {
    const { code, output } = await check({
      'src/base/own.ts': 'class Own {}\nexport const isOwn = (value: unknown) => value instanceof Own;\n',
      'src/base/map.ts': 'export const isMap = (value: unknown) =>\n  value instanceof Map;\n',
    });
    expect(output).toMatch(/^src\/base\/map.ts:2 asks for instanceof Map, .*\n$/);
    expect(code).not.toBe(0);
  });
});

describe('check-python', () => {
  const script = join(root, 'scripts/check-python.mjs');

  test('rejects what the linter finds, files that do not parse and files that are not formatted', async () => {
    const place = await repository({
      'bench/unused.py': 'import os\n',
      'bench/broken.py': 'def f(:\n',
      'training/loose.py': "x = {'a':1}\n",
    });
    await run('git', ['init', '--quiet'], place);
    const { code, output } = await run(process.execPath, [script, place], root);
    expect(output).toMatch(/bench\/unused\.py:1:\d+ F401/);
    expect(output).toMatch(/bench\/broken\.py:1:\d+ invalid-syntax/);
    expect(output).toContain('training/loose.py is not formatted');
    expect(output).not.toMatch(/story|world/);
    expect(code).not.toBe(0);
  });

  test('formats with --write, and then finds nothing', async () => {
    const place = await repository({ 'training/loose.py': "x = {'a':1}\n" });
    await run('git', ['init', '--quiet'], place);
    expect(await run(process.execPath, [script, '--write', place], root)).toEqual({ code: 0, output: '' });
    expect(await readFile(join(place, 'training/loose.py'), 'utf8')).toBe('x = {"a": 1}\n');
    expect(await run(process.execPath, [script, place], root)).toEqual({ code: 0, output: '' });
  });
});

describe('check-training', () => {
  test('is skipped with the reason where there is no Python', async () => {
    const script = join(root, 'scripts/check-training.mjs');
    expect(await run(process.execPath, [script], root, { PATH: folder })).toEqual({
      code: 0,
      output: 'skipped: python3: ENOENT; python: ENOENT\n',
    });
  });
});
