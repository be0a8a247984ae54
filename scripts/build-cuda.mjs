// Builds the CUDA library with its test and benchmark; with --emulated, the same kernels for the CPU, for tests.
//
//   node scripts/build-cuda.mjs [--arch LIST] [--out DIR] [--core FILE] [--if-possible] [--force] [--verbose]
//   node scripts/build-cuda.mjs --emulated [--sanitize] [--out DIR] [--core FILE] [--if-possible] [--force] [--verbose]
//
// --arch is `all` (default), `native` (this machine's GPU) or CMake's list, such as 80-real;90. DIR defaults to build/cuda,
// with --sanitize to build/cuda-sanitized. The outputs are liblongvlm_cuda.so, cuda_test and cuda_bench, or
// liblongvlm_cuda_emulated.so, cuda_test_emulated and cuda_bench_emulated. Nothing is built if the outputs are up to date.
// --core is the library of the CPU's side that scripts/build-addon.mjs leaves; without it, its sources are compiled again.
// Without nvcc or CMake it prints a message and exits with 1, with --if-possible with 0. LONGVLM_WERROR=1 turns compiler
// warnings into errors.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const usage =
  'usage: build-cuda.mjs [--arch all|native|LIST] [--emulated [--sanitize]] [--out DIR] [--core FILE] [--if-possible] [--force] [--verbose]';

class BuildError extends Error {}
/** The tools that this machine lacks. */
class NotPossible extends Error {}

function options() {
  const string = { type: 'string' };
  const boolean = { type: 'boolean', default: false };
  try {
    const { values } = parseArgs({
      options: {
        arch: string,
        out: string,
        core: string,
        emulated: boolean,
        sanitize: boolean,
        force: boolean,
        verbose: boolean,
        'if-possible': boolean,
      },
    });
    if (values.sanitize && !values.emulated) throw new Error('--sanitize needs --emulated');
    if (values.arch !== undefined && values.emulated) throw new Error('--arch does not go with --emulated');
    const out = values.out ?? (values.sanitize ? 'build/cuda-sanitized' : 'build/cuda');
    return { ...values, arch: values.arch ?? 'all', out: resolve(root, out) };
  } catch (error) {
    throw new BuildError(`${error.message}\n${usage}`);
  }
}

function versionOf(command) {
  const result = spawnSync(command, ['--version'], { encoding: 'utf8' });
  return result.status === 0 ? result.stdout : undefined;
}

function findNvcc() {
  const { CUDACXX, CUDA_PATH, CUDA_HOME } = process.env;
  const candidates = [
    CUDACXX,
    'nvcc',
    ...[CUDA_PATH, CUDA_HOME, '/usr/local/cuda'].filter(Boolean).map((folder) => join(folder, 'bin/nvcc')),
  ];
  for (const path of candidates.filter(Boolean)) {
    const version = versionOf(path);
    if (version !== undefined) return { path, version };
  }
  throw new NotPossible(
    'no nvcc was found (PATH, CUDACXX, CUDA_PATH, /usr/local/cuda): the CUDA library is not built.',
  );
}

function filesIn(folder) {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

/** A hash of everything that the outputs depend on: sources, compilers, options. */
function fingerprint({ arch, emulated, sanitize }, compiler) {
  const hash = createHash('sha256');
  hash.update(JSON.stringify([arch, emulated, sanitize, compiler, process.arch]));
  hash.update(`${process.env.LONGVLM_WERROR ?? ''} ${process.env.CXX ?? ''}`);
  const sources = [...filesIn('cuda'), ...filesIn('native/core'), ...filesIn('native/kernels')].sort();
  for (const file of sources) hash.update(file.slice(root.length)).update('\0').update(readFileSync(file));
  return hash.digest('hex');
}

/** Output is shown only when the command fails, or when `verbose`. */
function run(command, args, verbose) {
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: verbose ? 'inherit' : 'pipe',
  });
  if (result.status === 0) return;
  process.stderr.write(
    `${result.stdout ?? ''}${result.stderr ?? ''}${result.error ? `${result.error.message}\n` : ''}`,
  );
  throw new BuildError(`The CUDA library did not compile (${command} ${args.join(' ')}).`);
}

function outputs({ emulated, sanitize }) {
  const suffix = emulated ? '_emulated' : '';
  return [`liblongvlm_cuda${suffix}.so`, `cuda_test${suffix}`, ...(sanitize ? [] : [`cuda_bench${suffix}`])];
}

function build(chosen, nvcc) {
  const { arch, emulated, sanitize, out, core, verbose } = chosen;
  const work = join(out, emulated ? 'cmake-emulated' : 'cmake');
  const onOff = (value) => (value ? 'ON' : 'OFF');
  const architectures = arch === 'all' ? '75-real;80-real;86-real;89-real;90' : arch;
  // A cache of another compiler or folder would be stale.
  rmSync(join(work, 'CMakeCache.txt'), { force: true });
  const settings = [
    '-DCMAKE_BUILD_TYPE=Release',
    `-DLONGVLM_CUDA_EMULATED=${onOff(emulated)}`,
    `-DLONGVLM_CUDA_SANITIZE=${onOff(sanitize)}`,
    `-DLONGVLM_WERROR=${onOff(process.env.LONGVLM_WERROR === '1')}`,
    ...(core ? [`-DLONGVLM_CORE_LIBRARY=${resolve(root, core)}`] : []),
    ...(nvcc ? [`-DCMAKE_CUDA_COMPILER=${nvcc.path}`, `-DCMAKE_CUDA_ARCHITECTURES=${architectures}`] : []),
  ];
  run('cmake', ['-S', join(root, 'cuda'), '-B', work, ...settings], verbose);
  run('cmake', ['--build', work, '--parallel', String(availableParallelism())], verbose);
  for (const name of outputs(chosen)) {
    // The file is replaced, not overwritten, so that a process that has loaded the old one can go on using it.
    copyFileSync(join(work, 'out', name), join(out, `${name}.new`));
    renameSync(join(out, `${name}.new`), join(out, name));
  }
}

function main() {
  const chosen = options();
  try {
    if (process.platform !== 'linux') throw new NotPossible('the CUDA library is built on Linux only.');
    if (versionOf('cmake') === undefined) throw new NotPossible('no CMake was found: the CUDA library is not built.');
    const nvcc = chosen.emulated ? undefined : findNvcc();
    const stamp = join(chosen.out, chosen.emulated ? 'emulated.stamp' : 'cuda.stamp');
    const wanted = fingerprint(chosen, nvcc?.version ?? versionOf(process.env.CXX ?? 'c++'));
    const there = [stamp, ...outputs(chosen).map((name) => join(chosen.out, name))].every(existsSync);
    if (!chosen.force && there && readFileSync(stamp, 'utf8') === wanted) return;
    mkdirSync(chosen.out, { recursive: true });
    rmSync(stamp, { force: true });
    build(chosen, nvcc);
    writeFileSync(stamp, wanted);
  } catch (error) {
    if (!(error instanceof NotPossible)) throw error;
    console.error(`longvlm: ${error.message}`);
    process.exitCode = chosen['if-possible'] ? 0 : 1;
  }
}

try {
  main();
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  console.error(`longvlm: ${error.message}`);
  process.exitCode = 1;
}
