// What `npm run check` runs, in one place: format, lint, types, imports, packaging, ABI. All of it even if one fails.
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const tool = (name) => join(root, 'node_modules/.bin', name);
const script = (name) => [process.execPath, [`scripts/${name}.mjs`]];
// The compilers keep one core and a half busy: a third check beside two would wait.
const atOnce = 2;

function sourcesIn(folder) {
  return readdirSync(join(root, folder), { recursive: true })
    .filter((name) => /\.(cc|h|cu|cuh)$/.test(name))
    .map((name) => join(folder, name));
}

// The longest first, so that the last to run is short.
const checks = [
  ['types of tests', tool('tsc'), ['-p', 'tsconfig.test.json']],
  ['types', tool('tsc'), ['-p', 'tsconfig.json', '--noEmit']],
  ['types of the page', tool('tsc'), ['-p', 'src/page', '--noEmit']],
  ['imports', tool('depcruise'), ['src', '--output-type', 'err-long']],
  ['llama ABI', ...script('check-llama-abi')],
  ['ONNX Runtime ABI', ...script('check-ort-abi')],
  ['tests of training', ...script('check-training')],
  ['publint', tool('publint'), ['--strict']],
  ['biome', tool('biome'), ['ci', '--error-on-warnings', '--colors=off']],
  [
    'clang-format',
    tool('clang-format'),
    ['--dry-run', '-Werror', ...['native', 'scripts', 'test/native', 'cuda'].flatMap(sourcesIn)],
  ],
  ['Python', ...script('check-python')],
  ['sources', ...script('check-sources')],
  ['includes', ...script('check-includes')],
  ['signatures', ...script('check-signatures')],
];

/** Runs a program; resolves to whether it succeeded, and all that it printed. */
function run(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    const printed = [];
    child.stdout.on('data', (data) => printed.push(data));
    child.stderr.on('data', (data) => printed.push(data));
    child.on('error', (error) => printed.push(Buffer.from(error.message)));
    child.on('close', (code) => resolve({ passed: code === 0, output: Buffer.concat(printed).toString() }));
  });
}

async function work(queue) {
  for (const [name, command, args] of queue) {
    const { passed, output } = await run(command, args);
    const skipped = passed ? /^skipped: (.*)$/m.exec(output) : null;
    if (skipped) console.log(`skip ${name}: ${skipped[1]}`);
    else console.log(passed ? `ok   ${name}` : `FAIL ${name}\n${output}`);
    if (!passed) process.exitCode = 1;
  }
}

// Both take their next check from the same iterator.
const queue = checks.values();
await Promise.all(Array.from({ length: atOnce }, () => work(queue)));
