// Builds what is published in machine code: the addon for this machine and for those that can be compiled for here.
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { has, out, root, run } from './common.mjs';

const require = createRequire(import.meta.url);

/** This machine, by the names of the packages. */
export function hostPlatform() {
  const machine = `${process.platform}-${process.arch}`;
  const musl = process.platform === 'linux' && !process.report.getReport().header.glibcVersionRuntime;
  return musl ? `${machine}-musl` : machine;
}

/** What can be compiled here for other machines, by whose compiler. */
const cross = { 'linux-arm64': { compiler: 'aarch64-linux-gnu-g++', system: 'Linux', processor: 'aarch64' } };

/** The platforms, besides this machine, that the compilers here are for. */
export const crossPlatforms = () =>
  Object.keys(cross).filter((name) => name !== hostPlatform() && has(cross[name].compiler) && has('cmake'));

const folderOf = (platform) => join(out, 'addons', platform);

/** @returns the path of the addon */
export function buildForHost() {
  const folder = folderOf(hostPlatform());
  run(process.execPath, ['scripts/build-addon.mjs', '--portable', '--out', folder]);
  return join(folder, 'Release/longvlm.node');
}

/** @returns the path of the addon */
export function buildFor(platform) {
  const { compiler, system, processor } = cross[platform];
  const folder = folderOf(platform);
  mkdirSync(folder, { recursive: true });
  rmSync(join(folder, 'CMakeCache.txt'), { force: true });
  const headers = [
    join(dirname(require.resolve('node-api-headers/package.json')), 'include'),
    dirname(require.resolve('node-addon-api/package.json')),
  ];
  const options = {
    CMAKE_BUILD_TYPE: 'Release',
    CMAKE_SYSTEM_NAME: system,
    CMAKE_SYSTEM_PROCESSOR: processor,
    CMAKE_CXX_COMPILER: compiler,
    CMAKE_JS_INC: headers.join(';'),
    LONGVLM_PORTABLE: 'ON',
  };
  run('cmake', ['-S', root, '-B', folder, ...Object.entries(options).map(([name, value]) => `-D${name}=${value}`)]);
  run('cmake', ['--build', folder, '--parallel', String(availableParallelism())]);
  return join(folder, 'longvlm.node');
}

/** @returns the path of the library of GPU kernels; undefined where there is no nvcc */
export function buildCuda() {
  const folder = join(out, 'cuda');
  run(process.execPath, ['scripts/build-cuda.mjs', '--if-possible', '--out', folder]);
  const library = join(folder, 'liblongvlm_cuda.so');
  return existsSync(library) ? library : undefined;
}
