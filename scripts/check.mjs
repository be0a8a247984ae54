// Format, lint, types, C++ format, package layout, ABI: what `npm run check` runs, in one place, all of it even if one fails.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const tool = (name) => join(root, 'node_modules/.bin', name);

function sourcesIn(folder) {
  return readdirSync(join(root, folder), { recursive: true })
    .filter((name) => /\.(cc|h|cu|cuh)$/.test(name))
    .map((name) => join(folder, name));
}

const checks = [
  ['biome', tool('biome'), ['ci', '--error-on-warnings', '--colors=off']],
  ['types', tool('tsc'), ['-p', 'tsconfig.json', '--noEmit']],
  ['types of tests', tool('tsc'), ['-p', 'tsconfig.test.json']],
  [
    'clang-format',
    tool('clang-format'),
    ['--dry-run', '-Werror', ...['native', 'scripts', 'test/native', 'cuda'].flatMap(sourcesIn)],
  ],
  ['includes', process.execPath, ['scripts/check-includes.mjs']],
  ['signatures', process.execPath, ['scripts/check-signatures.mjs']],
  ['publint', tool('publint'), ['--strict']],
  ['llama ABI', process.execPath, ['scripts/check-llama-abi.mjs']],
];

let failed = 0;
for (const [name, command, args] of checks) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  const passed = result.status === 0;
  console.log(`${passed ? 'ok  ' : 'FAIL'} ${name}`);
  if (passed) continue;
  failed++;
  console.log(`${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`);
}
process.exitCode = failed > 0 ? 1 : 0;
