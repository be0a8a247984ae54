// Sets up a fresh clone: packages, addon, TypeScript, ffmpeg. Does only what is missing or stale.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';

function step(what, command, args) {
  const started = Date.now();
  process.stderr.write(`${what} ... `);
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    shell: process.platform === 'win32',
  });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  if (result.status === 0) {
    process.stderr.write(`${seconds} s\n`);
    return;
  }
  process.stderr.write(
    `failed after ${seconds} s\n${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}\n`,
  );
  process.exit(1);
}

/** Whether the installed packages match package-lock.json, except for optional ones. */
function packagesAreCurrent() {
  const installed = join(root, 'node_modules/.package-lock.json');
  if (!existsSync(installed)) return false;
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  const have = JSON.parse(readFileSync(installed, 'utf8')).packages;
  return Object.entries(wanted).every(
    ([path, { version, optional }]) => path === '' || optional || have[path]?.version === version,
  );
}

// npm ci also builds the addon and the TypeScript, through the script `prepare`.
if (!packagesAreCurrent()) step('Installing packages and building', npm, ['ci', '--no-audit', '--no-fund']);
else {
  step('Building the addon', process.execPath, ['scripts/build-addon.mjs']);
  step('Building the TypeScript', process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']);
  step('Building the page', process.execPath, ['scripts/build-page.mjs']);
}
step('Looking for ffmpeg', process.execPath, ['scripts/setup-ffmpeg.mjs']);
