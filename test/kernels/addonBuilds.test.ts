// The addon as each tool builds it, and under what the environment chooses: golden cases in processes of their own.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { repository, runNode } from './childProcess.js';
import { expectGolden, goldenNames, loadGolden } from './golden.js';
import { instructionSets } from './instructionSets.js';

const best = instructionSets.at(-1)!;

async function expectAllGolden(env: NodeJS.ProcessEnv, instructionSet: string): Promise<void> {
  const child = await runNode(['test/kernels/runGolden.mjs'], env);
  expect(child.stderr).toBe('');
  const output = JSON.parse(child.stdout);
  expect(output.instructionSet).toBe(instructionSet);
  for (const name of goldenNames) expectGolden(await loadGolden(name), output.results[name]);
}

describe('the addon built by node-gyp', () => {
  const out = join(repository, 'build/node-gyp');
  const addon = { LONGVLM_ADDON: join(out, 'Release/longvlm.node') };

  beforeAll(async () => {
    const built = await runNode(['scripts/build-addon.mjs', '--tool', 'node-gyp', '--out', out]);
    expect(built).toMatchObject({ code: 0, stdout: '' });
  }, 900_000);

  test.each(instructionSets)('gives what the reference gives, on %s', async (instructionSet) => {
    await expectAllGolden({ ...addon, LONGVLM_MAX_ISA: instructionSet }, instructionSet);
  });
});

describe('the addon of the package', () => {
  test.each(['1', '2', '7'])('gives what the reference gives, with LONGVLM_NUM_THREADS=%s', async (threads) => {
    await expectAllGolden({ LONGVLM_NUM_THREADS: threads }, best);
  });

  const merge = `const { mergeTokensSync } = await import('./dist/kernels/index.js');
    try { mergeTokensSync({ type: 'float32', data: new Float32Array(8).fill(1), dims: [2, 4] }, { heads: 1, keep: 1 }); }
    catch (error) { console.log(JSON.stringify({ name: error.name, code: error.code, message: error.message })); }`;
  const mergeIn = async (env: NodeJS.ProcessEnv) => {
    const child = await runNode(['--input-type=module', '-e', merge], env);
    expect(child).toMatchObject({ code: 0, stderr: '' });
    return JSON.parse(child.stdout || '{}');
  };

  test('refuses settings that it does not understand', async () => {
    expect(await mergeIn({ LONGVLM_NUM_THREADS: 'many' })).toEqual({
      name: 'RangeError',
      message: "Expected integer between 1 and 1024 for LONGVLM_NUM_THREADS but received 'many'",
    });
    expect(await mergeIn({ LONGVLM_MAX_ISA: 'avx3' })).toMatchObject({
      name: 'RangeError',
      message: expect.stringMatching(/^Expected one of portable, .* for LONGVLM_MAX_ISA but received 'avx3'$/),
    });
  });

  describe('that cannot be loaded', () => {
    const folder = mkdtempSync(join(tmpdir(), 'longvlm-addon-'));
    afterAll(() => rmSync(folder, { recursive: true }));

    test('is an error with every attempt and what to do', async () => {
      const missing = join(folder, 'missing.node');
      expect(await mergeIn({ LONGVLM_ADDON: missing })).toEqual({
        name: 'LongVLMError',
        code: 'ERR_LONGVLM_ADDON',
        message: expect.stringMatching(
          /could not be loaded on .*\n- .*missing\.node: no such file\nPossible solutions:\n- Unset LONGVLM_ADDON/,
        ),
      });
      const damaged = join(folder, 'damaged.node');
      writeFileSync(damaged, 'no library');
      const { code, message } = await mergeIn({ LONGVLM_ADDON: damaged });
      expect(code).toBe('ERR_LONGVLM_ADDON');
      expect(message).toMatch(/damaged\.node: .+\nPossible solutions:/);
    });
  });
});

describe('scripts/build-addon.mjs', () => {
  const build = async (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
    await runNode(['scripts/build-addon.mjs', ...args], env);

  test('refuses options that it does not know', async () => {
    expect(await build(['--tool', 'make'])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^longvlm: 'make' is not a tool this can build with\nusage: /),
    });
    expect((await build(['--fast'])).stderr).toMatch(/^longvlm: .*--fast.*\n(.*\n)*usage: /);
  });

  test.skipIf(process.platform === 'win32')('names the remedy when there is no C++ compiler', async () => {
    const out = join(tmpdir(), 'longvlm-never-built');
    const { code, stderr } = await build(['--out', out], { PATH: '/nonexistent', CXX: undefined });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^longvlm: No C\+\+ compiler was found/);
    expect(stderr).toMatch(
      process.platform === 'darwin' ? /xcode-select --install/ : /apt-get install build-essential cmake/,
    );
  });
});
