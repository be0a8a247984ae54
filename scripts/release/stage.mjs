// Lays out the folder of each package, ready to be packed.
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { compiled, filesBelow, out, ReleaseError, readJson, root } from './common.mjs';
import {
  addonManifest,
  cudaManifest,
  kernelsManifest,
  llamaArm64Manifest,
  mainManifest,
  nodeLlamaCppManifest,
  onnxruntimeManifest,
  platforms,
} from './manifests.mjs';

const own = readJson(join(root, 'package.json'));
const installed = (name) => join(root, 'node_modules', name);

/** A new folder for a package, with its manifest and, unless it has another, this repository's licence. */
function folderOf(manifest, licence = readFileSync(join(root, 'LICENSE'))) {
  const folder = join(out, 'stage', manifest.name.replace('/', '+'));
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, undefined, 2)}\n`);
  writeFileSync(join(folder, 'LICENSE'), licence);
  writeFileSync(join(folder, 'README.md'), `# ${manifest.name}\n\n${manifest.description}\n`);
  return folder;
}

function put(from, to, mode) {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to, { recursive: true, dereference: true, filter: (path) => !path.endsWith('__pycache__') });
  if (mode !== undefined) chmodSync(to, mode);
}

/**
 * The files of JavaScript and its types that a module imports, itself included, and the packages that they import.
 * @param entries paths from `folder`
 */
export function importsOf(folder, entries) {
  const files = new Set();
  const packages = new Set();
  const visit = (path) => {
    if (files.has(path) || !existsSync(path)) return;
    files.add(path);
    if (path.endsWith('.js')) visit(path.replace(/\.js$/, '.d.ts'));
    const text = readFileSync(path, 'utf8').replace(/\/\*[\s\S]*?\*\//g, '');
    for (const [, name] of text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*["']([^"'\n]+)["']/g)) {
      if (!name.startsWith('.')) packages.add(name.split('/', name.startsWith('@') ? 2 : 1).join('/'));
      else {
        const target = resolve(dirname(path), name);
        visit(path.endsWith('.d.ts') ? target.replace(/\.js$/, '.d.ts') : target);
      }
    }
  };
  for (const entry of entries) visit(join(folder, entry));
  return { files: [...files].map((path) => path.slice(folder.length + 1)).sort(), packages };
}

function stageMain(released) {
  const manifest = mainManifest(own, released);
  const folder = folderOf(manifest);
  const moved = new Map([
    ['scripts/binding.gyp', join(root, 'binding.gyp')],
    ['dist', compiled],
  ]);
  for (const path of ['README.md', ...manifest.files]) put(moved.get(path) ?? join(root, path), join(folder, path));
  return folder;
}

function stageKernels(released) {
  const { files, packages } = importsOf(compiled, ['kernels/index.js']);
  const wrong = [...packages].filter((name) => !name.startsWith('node:'));
  if (wrong.length > 0)
    throw new ReleaseError(`The kernels are published by themselves, but import ${wrong.join(', ')}.`);
  const folder = folderOf(kernelsManifest(own, released));
  for (const path of files) put(join(compiled, path), join(folder, 'dist', path));
  return folder;
}

/** @param addon the path of the built addon */
function stageAddon(platform, addon) {
  const folder = folderOf(addonManifest(own, platform));
  put(addon, join(folder, 'longvlm.node'), 0o755);
  return folder;
}

const mitOf = (holder) =>
  readFileSync(join(root, 'LICENSE'), 'utf8').replace(/^Copyright .*$/m, `Copyright (c) ${holder}`);

function stageOnnxruntime(platform) {
  const upstream = installed('onnxruntime-node');
  const bin = join(upstream, 'bin/napi-v6', platforms[platform].onnxruntime);
  // The addon of onnxruntime-node is not used, nor what WebGPU needs; of two names of one file, the one that is looked for.
  const wanted = /^(libonnxruntime\.so\.1|libonnxruntime\.1\.dylib|onnxruntime\.dll|DirectML\.dll)$/;
  const files = filesBelow(bin).filter((name) => wanted.test(name));
  if (files.length === 0) throw new ReleaseError(`${bin} has no library of ONNX Runtime.`);
  const manifest = onnxruntimeManifest(own, platform, readJson(join(upstream, 'package.json')));
  const folder = folderOf(manifest, mitOf('Microsoft Corporation'));
  for (const name of files) put(join(bin, name), join(folder, name));
  return folder;
}

function stageNodeLlamaCpp(released) {
  const upstream = installed('node-llama-cpp');
  // The second is started as a process of its own.
  const entries = ['dist/index.js', 'dist/bindings/utils/testBindingBinary.js'];
  const { files, packages } = importsOf(upstream, entries);
  const folder = folderOf(
    nodeLlamaCppManifest(readJson(join(upstream, 'package.json')), released, packages),
    readFileSync(join(upstream, 'LICENSE')),
  );
  // llama.cpp's sources, as a git bundle and what builds them, are for builds on the user's machine.
  const data = filesBelow(upstream).filter((path) =>
    /^(bins\/|llama\/(addon|grammars)\/|llama\/[^/]+\.json$)/.test(path),
  );
  for (const path of [...files, ...data]) put(join(upstream, path), join(folder, path));
  return folder;
}

function stageLlamaArm64() {
  const upstream = installed('@node-llama-cpp/linux-arm64');
  if (!existsSync(upstream)) throw new ReleaseError(`${upstream} is not installed. Pack on Linux.`);
  const folder = folderOf(
    llamaArm64Manifest(readJson(join(upstream, 'package.json'))),
    readFileSync(join(upstream, 'LICENSE')),
  );
  for (const path of ['dist', 'bins']) put(join(upstream, path), join(folder, path));
  return folder;
}

function stageCuda(library) {
  const folder = folderOf(cudaManifest(own));
  put(library, join(folder, 'liblongvlm_cuda.so'));
  return folder;
}

/**
 * Lays out all packages.
 * @param addons the built addon of each platform that is released
 * @param cuda the built library of GPU kernels, if it is
 * @returns folders, in the order in which they are to be published: none before what it depends on
 */
export function stageAll(addons, cuda) {
  const released = Object.keys(platforms).filter((name) => addons.has(name));
  return [
    ...released.map((name) => stageAddon(name, addons.get(name))),
    ...released.filter((name) => platforms[name].onnxruntime).map(stageOnnxruntime),
    ...(cuda === undefined ? [] : [stageCuda(cuda)]),
    ...(addons.has('linux-arm64') ? [stageLlamaArm64()] : []),
    stageNodeLlamaCpp(released),
    stageKernels(released),
    stageMain(released),
  ];
}
