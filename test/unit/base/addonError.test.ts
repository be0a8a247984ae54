import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { addonError } from '../../../dist/base/addonError.js';

const folder = mkdtempSync(join(tmpdir(), 'longvlm-remedies-'));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  vi.unstubAllEnvs();
});

/** A project where this package is in `inside`, and a path with or without a compiler. */
function project(name: string, inside: string, compiler = true): string {
  const root = join(folder, name, 'node_modules', inside);
  const bin = join(folder, name, 'bin');
  for (const made of [root, bin]) mkdirSync(made, { recursive: true });
  if (compiler) {
    writeFileSync(join(bin, 'clang++'), '');
    chmodSync(join(bin, 'clang++'), 0o755);
  }
  vi.stubEnv('PATH', bin);
  vi.stubEnv('CXX', '');
  return root;
}

const solutions = (message: string) => message.split('Possible solutions:\n- ')[1]!.split('\n- ');
const missing = (root: string | undefined) =>
  addonError({ attempts: ['/x/longvlm.node: no such file'], cause: undefined, root, overridden: false }).message;
const failed = (root: string, reason: string) =>
  addonError({ attempts: [`/x/longvlm.node: ${reason}`], cause: new Error(reason), root, overridden: false }).message;

const platform = `${process.platform}-${process.arch}`;

describe('what helps where the addon is missing', () => {
  test.each([
    ['npm', 'longvlm'],
    ['pnpm', '.pnpm/longvlm@1.0.0/node_modules/longvlm'],
  ])('is its package, a build, or a file, as installed by %s', (name, inside) => {
    const root = project(name, inside);
    expect(missing(root)).toMatch(
      /^The native addon of longvlm could not be loaded on .*\n- \/x\/longvlm.node: no such file\nPossible solutions:\n- /,
    );
    const [first, second, third, ...more] = solutions(missing(root));
    expect(more).toEqual([]);
    expect(first).toMatch(/^Install longvlm again .*without --omit=optional.*@longvlm\//);
    expect(first).toContain(`@longvlm/${platform}`);
    expect(second).toMatch(/^Or build it: install cmake-js and node-addon-api, then run 'node /);
    expect(second).toContain(join(root, 'scripts/build-addon.mjs'));
    expect(third).toMatch(/LONGVLM_ADDON/);
  });

  test.skipIf(process.platform === 'win32')('begins a build with a compiler where there is none', () => {
    expect(solutions(missing(project('slim', 'longvlm', false)))[1]).toMatch(
      /^Or build it: install a C\+\+20 compiler .*apk add build-base.*, install cmake-js/,
    );
  });

  test('is to stay out of a bundle, or to be beside it', () => {
    const message = missing(undefined);
    expect(message).toMatch(/part of a bundle.*external/);
    expect(message).toContain(`@longvlm/${platform} beside the bundle`);
    expect(message).not.toContain('build-addon');
  });

  test('is a build of its own in a checkout', () => {
    expect(solutions(missing('/home/me/longvlm'))).toEqual([
      "In this checkout, run 'npm run build' in /home/me/longvlm.",
    ]);
  });

  test('fits what is wrong with a file that is there', () => {
    const root = project('wrong', 'longvlm');
    expect(solutions(failed(root, 'invalid ELF header'))[0]).toMatch(/^It was built for another machine: .*Install/);
    expect(solutions(failed(root, "version `GLIBC_2.38' not found"))[0]).toMatch(
      /another C or C\+\+ library .*build-addon\.mjs'\.$/,
    );
    expect(solutions(failed(root, 'Error relocating longvlm.node: fcntl64: symbol not found'))[0]).toMatch(
      /another C or C\+\+ library/,
    );
  });
});
