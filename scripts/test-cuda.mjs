// Compiles the GPU kernels if nvcc is installed, and tests them: on the CPU by emulation, and on a GPU if there is one.
//
//   node scripts/test-cuda.mjs
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(fileURLToPath(new URL('..', import.meta.url)));
const noDevice = 2;

/** Runs a program in the repository. If it fails, prints its output and exits. */
function run(command, args, accepted = [0]) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (accepted.includes(status)) return { status, output: `${stdout}${stderr}`.trim() };
  process.stderr.write(`${stdout ?? ''}${stderr ?? ''}${error ? `${error.message}\n` : ''}`);
  console.error(`longvlm: ${[command, ...args].join(' ')} failed`);
  process.exit(1);
}

/** Runs a program several times at once, each with a part of its tests, as the emulator uses one core. */
async function runParts(command, args) {
  const parts = Math.min(4, availableParallelism());
  const failed = await Promise.all(
    Array.from(
      { length: parts },
      (_, part) =>
        new Promise((resolve) => {
          const child = spawn(command, [...args, '--part', `${part}/${parts}`], { cwd: root });
          let output = '';
          for (const stream of [child.stdout, child.stderr])
            stream.on('data', (text) => {
              output += text;
            });
          child.on('error', (error) => resolve(error.message));
          child.on('close', (code) => resolve(code === 0 ? undefined : output));
        }),
    ),
  );
  for (const output of failed.filter(Boolean)) process.stderr.write(`${output}\n`);
  if (!failed.some((output) => output !== undefined)) return;
  console.error(`longvlm: ${[command, ...args].join(' ')} failed`);
  process.exit(1);
}

const script = (...args) => run(process.execPath, args);

if (process.platform !== 'linux') {
  console.log('cuda: built and tested on Linux only');
  process.exit(0);
}
script('scripts/export-golden.mjs', 'build/golden');
// Where CMake builds the addon, what the kernels are compared with is compiled.
script('scripts/build-addon.mjs');
const library = 'build/liblongvlm_core.a';
const core = existsSync(join(root, library)) ? ['--core', library] : [];
// The oldest GPUs and the newest, in a folder of their own: what was built to be used stays as it is.
const built = script(
  'scripts/build-cuda.mjs',
  '--if-possible',
  '--arch',
  '75-real;90',
  '--out',
  'build/cuda-compiled',
  ...core,
).output;
if (built) console.log(built);
else console.log('cuda: compiled');
script('scripts/build-cuda.mjs', '--emulated', ...core);
const test = ['--quick', '--golden', 'build/golden'];
await runParts(join(root, 'build/cuda/cuda_test_emulated'), test);
console.log('cuda: passed, emulated on the CPU');
const gpuTest = join(root, 'build/cuda/cuda_test');
if (!built && existsSync(gpuTest)) {
  const { status, output } = run(gpuTest, test.slice(1), [0, noDevice]);
  console.log(status === 0 ? `cuda: passed on a GPU\n${output}` : 'cuda: not run on a GPU, as there is none');
}
