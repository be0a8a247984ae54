// The addon as users get it: from the package of the platform, beside a longvlm that was not built where it is.
import { copyFileSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { addonPackages } from '../../dist/base/platformPackages.js';
import { repository, runNode } from './childProcess.js';

const { importsOf } = await import(new URL('../../scripts/release/stage.mjs', import.meta.url).href);
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'longvlm-packages-')));
afterAll(() => rmSync(folder, { recursive: true }));

const file = (...path: string[]) => {
  const place = join(folder, ...path);
  mkdirSync(dirname(place), { recursive: true });
  return place;
};

/** A project with the kernels of longvlm, and packages whose addon is the file at that path. */
function project(name: string, packages: Readonly<Record<string, string>>): string {
  for (const path of importsOf(repository.replace(/\/$/, ''), ['dist/kernels/index.js']).files)
    copyFileSync(join(repository, path), file(name, 'node_modules/longvlm', path));
  writeFileSync(file(name, 'node_modules/longvlm/package.json'), '{"name":"longvlm","type":"module"}');
  for (const [dependency, addon] of Object.entries(packages)) {
    writeFileSync(file(name, 'node_modules', dependency, 'package.json'), JSON.stringify({ name: dependency }));
    symlinkSync(addon, file(name, 'node_modules', dependency, 'longvlm.node'));
  }
  return join(folder, name, 'node_modules/longvlm/dist/kernels/index.js');
}

async function mergeIn(kernels: string): Promise<string> {
  const program = `import(${JSON.stringify(kernels)})
    .then(({ mergeTokensSync }) => mergeTokensSync({ type: 'float32', data: new Float32Array(8).fill(1), dims: [2, 4] }, { heads: 1, keep: 1 }))
    .then(({ sizes }) => console.log(...sizes.data), ({ code, message }) => console.log(code, message));`;
  const { code, stdout, stderr } = await runNode(['-e', program]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout.trim();
}

describe.skipIf(addonPackages().length === 0)('the addon of the platform’s package', () => {
  const [own, ...others] = addonPackages() as [string, ...string[]];
  const built = join(repository, 'build/Release/longvlm.node');

  test('is used where nothing was built', async () => {
    expect(await mergeIn(project('installed', { [own]: built }))).toBe('2');
  });

  test.skipIf(others.length === 0)('may be the second that is tried, where both are installed', async () => {
    const damaged = file('damaged.node');
    writeFileSync(damaged, 'for another C library');
    expect(await mergeIn(project('both', { [own]: damaged, [others[0]!]: built }))).toBe('2');
  });

  test('is missed in one error, with what was looked for and three ways out', async () => {
    const message = await mergeIn(project('missing', {}));
    const [looked, solutions] = message.split('\nPossible solutions:\n');
    expect(looked).toMatch(/^ERR_LONGVLM_ADDON .*build\/Release\/longvlm\.node: no such file\n/s);
    for (const name of [own, ...others]) expect(looked).toContain(`\n- the package ${name}: not installed`);
    expect(solutions!.split('\n')).toEqual([
      expect.stringContaining(own),
      expect.stringContaining(join(folder, 'missing/node_modules/longvlm/scripts/build-addon.mjs')),
      expect.stringContaining('LONGVLM_ADDON'),
    ]);
  });
});
