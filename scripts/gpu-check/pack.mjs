// Packs what the check needs for a machine with an NVIDIA GPU that has neither Node nor network nor compiler: pack.mjs --help.
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
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

const usage = `usage: node scripts/gpu-check/pack.mjs [--out build/gpu-check] [--limit 64] [--arch 90]

Makes loads of at most --limit MiB, the most valuable first: load-1 works alone, with fewer steps. Copy them to the machine
side by side, at once or one after the other, and run there

  bash load-1/check.sh [options of run.mjs, see --help]

which unpacks what is new and repeats no step that passed. Results are written to results/ beside the loads.
The machine must have the libraries of CUDA 13 (cuBLAS, cuRAND, the runtime) and a driver for it; Python with torch and
transformers, and compute-sanitizer, are used if they are there. --arch is the GPU's compute capability without the point.

Needs Linux on x64, nvcc, CMake, xz and npm's registry: ONNX Runtime's CUDA provider is taken from a package of one person's,
for checks and not for use, with the ONNX Runtime of the same version. Takes minutes; what does not change is kept in
build/gpu-check-packages.`;

const { values } = parseArgs({
  options: {
    help: { type: 'boolean', default: false },
    out: { type: 'string', default: join(root, 'build/gpu-check') },
    limit: { type: 'string', default: '64' },
    arch: { type: 'string', default: '90' },
  },
});
if (values.help) {
  console.log(usage);
  process.exit(0);
}
const out = resolve(values.out);
const downloads = join(root, 'build/gpu-check-packages');
const stage = join(downloads, 'stage');
const run = (command, args, cwd = root) =>
  execFileSync(command, args, { cwd, stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8', maxBuffer: 1 << 28 });

const ortVersion = '1.29.0';
const packages = {
  core: `onnxruntime-node@${ortVersion}`,
  provider: 'com.github.asus4.onnxruntime.linux-x64-gpu@0.4.9',
  ffmpeg: '@ffmpeg-installer/linux-x64@4.1.0',
};

const fileName = (text) => text.replace(/[^\w.-]+/g, '-');

/** The folder of a package of npm's, downloaded once. */
function download(name) {
  const folder = join(downloads, fileName(packages[name]));
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
  const built = join(downloads, `cuda-${values.arch}`);
  run(process.execPath, [join(root, 'scripts/build-cuda.mjs'), '--arch', `${values.arch}-real`, '--out', built]);
  const golden = join(downloads, 'golden');
  run(process.execPath, [join(root, 'scripts/export-golden.mjs'), golden]);
  for (const name of ['liblongvlm_cuda.so', 'cuda_test', 'cuda_bench'])
    put('package', join(built, name), join('longvlm/build/cuda', name));
  put('package', golden, 'longvlm/build/golden');
  const counter = join(stage, 'package/longvlm/build/gpu-check-tools/libcount_copies.so');
  await compileCounter(counter);
  const files = ['package.json', 'dist', 'build/Release/longvlm.node', 'bench/merge_tokens.py', 'scripts/exits.mjs'];
  for (const path of inRoot(
    ...files,
    'scripts/gpu-check',
    'test/fixtures/merge',
    'test/fixtures/reducers',
    'test/fixtures/pico',
    'models/nano',
  ))
    put('package', path);
  // Nothing of these runs, or it travels in another part.
  const left = /\/(typescript|cmake-js|node-addon-api|ffmpeg-static|@node-llama-cpp\/.*)$/;
  const installed = run('npm', ['ls', '--omit=dev', '--all', '--parseable']).trim().split('\n').slice(1);
  for (const path of new Set(installed.filter((path) => !left.test(path)))) put('package', path);
  for (const path of ['node-llama-cpp/llama/gitRelease.bundle', 'onnxruntime-node/bin'])
    rmSync(join(stage, 'package/longvlm/node_modules', path), { recursive: true, force: true });
}

function stageProvider() {
  const provider = readFileSync(join(download('provider'), gpuFolder, 'libonnxruntime_providers_cuda.so'));
  if (!provider.includes(`\0${ortVersion}\0`))
    throw new Error(`${packages.provider} is not of ONNX Runtime ${ortVersion}`);
  keepArchitecture(provider, Number(values.arch));
  mkdirSync(join(stage, 'provider/onnxruntime'), { recursive: true });
  writeFileSync(join(stage, 'provider/onnxruntime/libonnxruntime_providers_cuda.so'), provider);
}

function stageCore() {
  const core = join(download('core'), 'bin/napi-v6/linux/x64/libonnxruntime.so.1');
  put('onnxruntime', core, 'onnxruntime/libonnxruntime.so.1');
  const shared = 'libonnxruntime_providers_shared.so';
  put('onnxruntime', join(download('provider'), gpuFolder, shared), `onnxruntime/${shared}`);
}

function stageAnswers() {
  put('answers', join(root, llamaFolder));
  put('answers', join(download('ffmpeg'), 'ffmpeg'), 'ffmpeg');
}

const gpuFolder = 'Plugins/Linux/x64';
const llamaFolder = 'node_modules/@node-llama-cpp/linux-x64';
const versionIn = (folder) => JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')).version;

// The most valuable first: what makes each, and, where packing it again can be spared, what it depends on.
const parts = {
  package: { make: stagePackage },
  node: { make: () => run('strip', [put('node', process.execPath, 'node')]), of: [process.version] },
  onnxruntime: { make: stageCore, of: [packages.core, packages.provider] },
  provider: { make: stageProvider, of: [packages.provider, values.arch] },
  answers: { make: stageAnswers, of: [packages.ffmpeg, versionIn(llamaFolder)] },
};

/** The archive of a part. Packing takes minutes, so that of an unchanged one is kept. */
async function pack(name) {
  const { make, of } = parts[name];
  const archive = join(downloads, fileName(`${[name, ...(of ?? [])].join(' ')}.tar.xz`));
  if (of && existsSync(archive)) return archive;
  await make();
  const reproducible = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0'];
  const xz = 'xz -T1 --x86 --lzma2=preset=6,dict=128MiB';
  run('tar', [...reproducible, '-I', xz, '-cf', `${archive}.new`, '-C', join(stage, name), '.']);
  renameSync(`${archive}.new`, archive);
  return archive;
}

const mebibyte = 2 ** 20;

/** Puts each part into the first load that has room for it. */
async function load() {
  const limit = Number(values.limit) * mebibyte;
  const loads = [];
  for (const name of Object.keys(parts)) {
    const archive = await pack(name);
    const bytes = statSync(archive).size;
    const size = `${(bytes / mebibyte).toFixed(1)} MiB`;
    if (bytes > limit) throw new Error(`${name} takes ${size}, more than --limit`);
    let place = loads.findIndex((used) => used + bytes <= limit);
    if (place < 0) place = loads.push(0) - 1;
    loads[place] += bytes;
    put('loads', archive, `load-${place + 1}/${name}.tar.xz`);
    console.log(`load-${place + 1}  ${name.padEnd(12)} ${size}`);
  }
  put('loads', join(root, 'scripts/gpu-check/check.sh'), 'load-1/check.sh');
  mkdirSync(out, { recursive: true });
  for (const name of readdirSync(out).filter((name) => /^load-\d+$/.test(name)))
    rmSync(join(out, name), { recursive: true });
  for (const name of readdirSync(join(stage, 'loads'))) renameSync(join(stage, 'loads', name), join(out, name));
  for (const [index, bytes] of loads.entries())
    console.log(`${join(out, `load-${index + 1}`)}: ${(bytes / mebibyte).toFixed(1)} MiB`);
}

if (process.platform !== 'linux' || process.arch !== 'x64')
  throw new Error('The check is packed on Linux on x64 only.');
rmSync(stage, { recursive: true, force: true });
await load();
rmSync(stage, { recursive: true });
