// Builds the native addon: in a checkout (`npm run build`), and where no package has it for a platform. Uses cmake-js if CMake
// is installed, else the node-gyp of npm.
//
//   node scripts/build-addon.mjs [--force] [--portable] [--tool cmake-js|node-gyp] [--out DIR] [--verbose]
//
// The output is DIR/Release/longvlm.node; DIR defaults to `build`. Nothing is built if the output is up to date.
// With --portable, by cmake-js alone, the addon brings the C++ library along. LONGVLM_WERROR=1 turns compiler warnings into
// errors. Quiet, unless the build fails.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const windows = process.platform === 'win32';
const usage = 'usage: build-addon.mjs [--force] [--portable] [--tool cmake-js|node-gyp] [--out DIR] [--verbose]';

class BuildError extends Error {}

function options() {
  const string = { type: 'string' };
  const boolean = { type: 'boolean', default: false };
  try {
    const { values } = parseArgs({
      options: { force: boolean, portable: boolean, verbose: boolean, tool: string, out: string },
    });
    if (values.portable) values.tool ??= 'cmake-js';
    if (values.portable && values.tool !== 'cmake-js') throw new Error('--portable needs cmake-js');
    if (values.tool !== undefined && values.tool !== 'cmake-js' && values.tool !== 'node-gyp')
      throw new Error(`'${values.tool}' is not a tool this can build with`);
    return { ...values, out: resolve(root, values.out ?? 'build') };
  } catch (error) {
    throw new BuildError(`${error.message}\n${usage}`);
  }
}

function runs(command, args = ['--version']) {
  return spawnSync(command, args, { stdio: 'ignore', shell: windows }).status === 0;
}

/** The path of a file of a package that is needed to build alone. */
function needed(path) {
  try {
    return require.resolve(path);
  } catch (error) {
    throw new BuildError(
      `Building the addon needs the package ${path.split('/')[0]}. Run: npm install --save-dev cmake-js node-addon-api`,
      { cause: error },
    );
  }
}

/** In the published package it is not in the root, where package managers would take it for an order to build. */
function gypFile() {
  const places = ['binding.gyp', 'scripts/binding.gyp'].map((path) => join(root, path));
  return places.find((path) => existsSync(path)) ?? places[0];
}

/** A hash of everything that the addon depends on: sources, build files, compiler options, the machine. */
function fingerprint(tool, portable) {
  const hash = createHash('sha256');
  hash.update(`${tool} ${portable ? 'portable ' : ''}${process.platform} ${process.arch} ${process.env.CXX ?? ''}`);
  hash.update(JSON.parse(readFileSync(needed('node-addon-api/package.json'), 'utf8')).version);
  const sources = ['native', 'cuda/include'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name)),
  );
  for (const file of [...sources.sort(), join(root, 'CMakeLists.txt'), gypFile()])
    hash.update(file.slice(root.length)).update('\0').update(readFileSync(file));
  return hash.digest('hex');
}

/** Runs a Node program; its output is shown only when it fails, or when `verbose`. */
function runNode(script, args, { cwd, verbose, env = {} }) {
  const result = spawnSync(process.execPath, [script, ...args], {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, ...env },
    maxBuffer: 1 << 28,
    stdio: verbose ? 'inherit' : 'pipe',
  });
  if (result.status === 0) return;
  const log = `${result.stdout ?? ''}${result.stderr ?? ''}${result.error ? `${result.error.message}\n` : ''}`;
  process.stderr.write(log);
  const noCompiler = /No CMAKE_CXX_COMPILER could be found|Could not find any Visual Studio|not found: make/i.test(log);
  throw new BuildError(noCompiler ? compilerRemedy() : `The native addon did not compile (${args.join(' ')}).`);
}

function compilerRemedy() {
  const install = {
    darwin: 'run: xcode-select --install',
    win32: 'install "Visual Studio Build Tools" with the workload "Desktop development with C++"',
  }[process.platform];
  return `No C++ compiler was found, which building the native addon needs. To get one, ${
    install ?? 'install g++ and make (Debian and Ubuntu: sudo apt-get install build-essential cmake)'
  }; then run this again.`;
}

function buildWithCmakeJs({ out, portable, verbose }) {
  const cmakeJs = needed('cmake-js/bin/cmake-js');
  const common = ['--directory', root, '--out', out, '--log-level', 'warn'];
  // Without its cache, CMake configures from scratch: stale results (a compiler, a moved folder) are not used.
  rmSync(join(out, 'CMakeCache.txt'), { force: true });
  const warnings = `--CDLONGVLM_WERROR=${process.env.LONGVLM_WERROR === '1' ? 'ON' : 'OFF'}`;
  const library = `--CDLONGVLM_PORTABLE=${portable ? 'ON' : 'OFF'}`;
  runNode(cmakeJs, ['configure', ...common, warnings, library], { cwd: root, verbose });
  runNode(cmakeJs, ['build', ...common, '--parallel', String(availableParallelism())], { cwd: root, verbose });
}

function findNodeGyp() {
  const beside = dirname(process.execPath);
  const candidates = [
    process.env.npm_config_node_gyp,
    ...[process.env.npm_execpath && resolve(process.env.npm_execpath, '../..')]
      .concat(
        ['../lib/node_modules/npm', 'node_modules/npm', '../share/npm', '../share/nodejs/npm'].map((path) =>
          resolve(beside, path),
        ),
      )
      .filter(Boolean)
      .map((npm) => join(npm, 'node_modules/node-gyp/bin/node-gyp.js')),
    resolve(beside, '../share/nodejs/node-gyp/bin/node-gyp.js'),
  ];
  const found = candidates.find((path) => path && existsSync(path));
  if (found) return found;
  const globalRoot = spawnSync('npm', ['root', '--global'], { encoding: 'utf8', shell: windows }).stdout?.trim();
  const inGlobal = globalRoot && join(globalRoot, 'npm/node_modules/node-gyp/bin/node-gyp.js');
  if (inGlobal && existsSync(inGlobal)) return inGlobal;
  throw new BuildError(
    'Neither CMake nor node-gyp was found. Install CMake 3.18 or newer, or npm, which brings node-gyp.',
  );
}

function buildWithNodeGyp({ out, verbose }) {
  // node-gyp always builds into `build` next to binding.gyp: a copy of the sources avoids conflicts with the other tool.
  const copy = join(out, 'gyp');
  for (const part of ['native', 'cuda']) rmSync(join(copy, part), { recursive: true, force: true });
  for (const part of ['native', 'cuda/include'])
    cpSync(join(root, part), join(copy, part), { recursive: true, preserveTimestamps: true });
  cpSync(gypFile(), join(copy, 'binding.gyp'), { preserveTimestamps: true });
  const headers = resolve(dirname(process.execPath), '..');
  const nodedir = existsSync(join(headers, 'include/node/node_api.h')) ? [`--nodedir=${headers}`] : [];
  const args = ['--release', `--jobs=${availableParallelism()}`, ...nodedir];
  // node-gyp resolves node-addon-api from the copy's folder, which may be outside the package.
  const env = { NODE_PATH: [resolve(needed('node-addon-api/package.json'), '../..')].join() };
  runNode(findNodeGyp(), ['configure', ...args], { cwd: copy, verbose, env });
  runNode(findNodeGyp(), ['build', ...args], { cwd: copy, verbose, env });
  mkdirSync(join(out, 'Release'), { recursive: true });
  // The file is replaced, not overwritten, so that a process that has loaded the old one can go on using it.
  rmSync(join(out, 'Release/longvlm.node'), { force: true });
  cpSync(join(copy, 'build/Release/longvlm.node'), join(out, 'Release/longvlm.node'));
}

function main() {
  const chosen = options();
  const tool = chosen.tool ?? (runs('cmake') ? 'cmake-js' : 'node-gyp');
  const addon = join(chosen.out, 'Release/longvlm.node');
  const stamp = join(chosen.out, 'Release/longvlm.stamp');
  const wanted = fingerprint(tool, chosen.portable);
  if (!chosen.force && existsSync(addon) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  const compilers = [process.env.CXX, 'c++', 'g++', 'clang++'].filter(Boolean);
  if (!windows && !compilers.some((command) => runs(command))) throw new BuildError(compilerRemedy());
  rmSync(stamp, { force: true });
  if (tool === 'cmake-js') buildWithCmakeJs(chosen);
  else buildWithNodeGyp(chosen);
  if (!existsSync(addon)) throw new BuildError(`${tool} ended well, but there is no ${addon}.`);
  writeFileSync(stamp, wanted);
}

try {
  main();
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  console.error(`longvlm: ${error.message}`);
  process.exitCode = 1;
}
