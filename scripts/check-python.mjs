// Lints and checks the format of every *.py of the repository with Ruff.
//
//   node scripts/check-python.mjs [--write] [root of a repository]
//
// --write formats the files in place; findings of the linter must be fixed by hand.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';

// Compiling Ruff's WebAssembly quickly saves ten times more than running it optimized would.
setFlagsFromString('--liftoff-only');
const { PositionEncoding, Workspace } = await import('@astral-sh/ruff-wasm-nodejs');

const { values, positionals } = parseArgs({ options: { write: { type: 'boolean' } }, allowPositionals: true });
const root = resolve(positionals[0] ?? fileURLToPath(new URL('..', import.meta.url)));

// Includes new files that are not committed yet, and excludes deleted ones.
const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '*.py'], {
  cwd: root,
  encoding: 'utf8',
});
const files = listed.split('\0').filter((name) => name && existsSync(join(root, name)));

// Ruff has no access to the file system here, so it gets a list of our own modules, whose imports form a separate group.
const ourModules = new Set(files.flatMap((name) => [basename(name, '.py'), basename(dirname(name))]));

const ruff = new Workspace(
  {
    'line-length': 120,
    'target-version': 'py310',
    lint: {
      select: ['E', 'F', 'W', 'I', 'B', 'UP', 'SIM'],
      isort: { 'known-first-party': [...ourModules] },
    },
  },
  PositionEncoding.Utf16,
);

const wrong = [];
for (const name of files) {
  const text = readFileSync(join(root, name), 'utf8');
  let found = ruff.check(text);
  // A file with syntax errors cannot be formatted.
  const formatted = found.some(({ code }) => code === 'invalid-syntax') ? text : ruff.format(text);
  if (formatted !== text && values.write) {
    writeFileSync(join(root, name), formatted);
    found = ruff.check(formatted);
  } else if (formatted !== text) {
    wrong.push(`${name} is not formatted. Run: node scripts/check-python.mjs --write`);
  }
  for (const { code, message, start_location: at } of found)
    wrong.push(`${name}:${at.row}:${at.column} ${code} ${message}`);
}
for (const line of wrong) console.error(line);
process.exitCode = wrong.length > 0 ? 1 : 0;
