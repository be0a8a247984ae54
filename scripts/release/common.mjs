// What the release's scripts share: folders, running programs, sizes.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
/** All that the release makes. */
export const out = join(root, 'build/release');
/** TypeScript, compiled anew: dist/ may hold what has no source any more. */
export const compiled = join(out, 'dist');
/** The packages, packed: what would be published. */
export const packed = join(out, 'packages');

/** A failure that is told in one line, without a stack. */
export class ReleaseError extends Error {}

export const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** Runs a program; its output is returned, and shown where it fails. */
export function run(command, args, { cwd = root, env = {}, input } = {}) {
  const result = spawnSync(command, args, {
    cwd,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    input,
    maxBuffer: 1 << 28,
  });
  if (result.status === 0) return result.stdout;
  const shown = `${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`.trim();
  throw new ReleaseError(`${[command, ...args].join(' ')} failed in ${cwd}:\n${shown}`);
}

export const has = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;

/** The files below a folder, as paths from it, sorted. */
export function filesBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(folder.length + 1))
    .sort();
}

/** As npm's `integrity`. */
export const sha512 = (path) => `sha512-${createHash('sha512').update(readFileSync(path)).digest('base64')}`;

export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
export const sizeOf = (path) => statSync(path).size;

/** Says what is being done, and how long it took. */
export async function step(what, work) {
  const started = Date.now();
  process.stderr.write(`${what} ...`);
  try {
    const result = await work();
    process.stderr.write(` ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
    return result;
  } catch (error) {
    process.stderr.write(' failed\n');
    throw error;
  }
}
