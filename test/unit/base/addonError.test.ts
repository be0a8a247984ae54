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

/** A project with those files, where this package is in `inside`, and a path with or without a compiler. */
function project(name: string, inside: string, files: readonly string[], compiler = true): string {
  const root = join(folder, name, 'node_modules', inside);
  const bin = join(folder, name, 'bin');
  for (const made of [root, bin]) mkdirSync(made, { recursive: true });
  for (const file of files) writeFileSync(join(folder, name, file), '');
  if (compiler) {
    writeFileSync(join(bin, 'clang++'), '');
    chmodSync(join(bin, 'clang++'), 0o755);
  }
  vi.stubEnv('PATH', bin);
  vi.stubEnv('CXX', '');
  return root;
}

const missing = (root: string | undefined) =>
  addonError({ attempts: ['/x/longvlm.node: no such file'], cause: undefined, root, overridden: false }).message;
const failed = (root: string, reason: string) =>
  addonError({ attempts: [`/x/longvlm.node: ${reason}`], cause: new Error(reason), root, overridden: false }).message;

describe('what helps where the addon is missing', () => {
  test.each([
    ['npm', 'longvlm', ['package-lock.json'], /run 'npm rebuild longvlm'\.$/],
    [
      'pnpm',
      '.pnpm/longvlm@1.0.0/node_modules/longvlm',
      ['pnpm-lock.yaml'],
      /'pnpm approve-builds' .* 'pnpm rebuild longvlm'\.$/,
    ],
    ['bun', 'longvlm', ['bun.lock'], /'bun pm trust longvlm'\.$/],
    ['yarn', 'longvlm', ['yarn.lock'], /run 'npm run install' in .*longvlm; .*allow/],
  ])('fits %s', (name, inside, files, expected) => {
    const message = missing(project(name, inside, files));
    expect(message).toMatch(
      /^The native addon of longvlm could not be loaded on .*\n- \/x\/longvlm.node: no such file\nPossible solutions:\n- /,
    );
    expect(message).toMatch(expected);
    if (name !== 'npm') expect(message).not.toMatch(/[^p]npm rebuild/);
  });

  test.skipIf(process.platform === 'win32')(
    'is a compiler first where there is none, or an addon from elsewhere',
    () => {
      const message = missing(project('slim', 'longvlm', [], false));
      expect(message).toMatch(
        /no C\+\+ compiler.*apk add build-base.*run 'npm rebuild longvlm'\.\n- .*slim image.*LONGVLM_ADDON/,
      );
      expect(missing(project('whole', 'longvlm', []))).not.toMatch(/compiler|LONGVLM_ADDON/);
    },
  );

  test('is to stay out of a bundle', () => {
    expect(missing(undefined)).toMatch(/part of a bundle.*external/);
    expect(missing(undefined)).not.toContain('rebuild');
  });

  test('is a build of its own in a checkout', () => {
    expect(missing('/home/me/longvlm')).toMatch(/run 'npm run build' in \/home\/me\/longvlm/);
  });

  test('fits what is wrong with a file that is there', () => {
    const root = project('wrong', 'longvlm', []);
    expect(failed(root, 'invalid ELF header')).toMatch(/built for another machine.*'npm rebuild longvlm'/);
    expect(failed(root, "version `GLIBC_2.38' not found")).toMatch(/another C or C\+\+ library/);
  });
});
