// Checks native/llama/llama_abi.h against the headers of the pinned node-llama-cpp and its llama.cpp.
//
//   node scripts/check-llama-abi.mjs
//
// llama.h comes from the git bundle inside node-llama-cpp, so this needs git and a C++ compiler; no network.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const llama = resolve(dirname(require.resolve('node-llama-cpp')), '../llama');
const nodeHeaders = [
  resolve(dirname(process.execPath), '../include/node'),
  join(dirname(require.resolve('node-api-headers/package.json')), 'include'),
];

function run(command, args) {
  const result = spawnSync(command, args, { encoding: 'utf8' });
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}\n`);
  console.error(
    `check-llama-abi: ${command} failed: native/llama/llama_abi.h does not fit node-llama-cpp, or a tool is missing`,
  );
  process.exit(1);
}

const folder = mkdtempSync(join(tmpdir(), 'longvlm-abi-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const source = join(folder, 'llama.cpp');
run('git', [
  '-c',
  'advice.detachedHead=false',
  'clone',
  '--quiet',
  '--no-checkout',
  join(llama, 'gitRelease.bundle'),
  source,
]);
run('git', [
  '-C',
  source,
  '-c',
  'advice.detachedHead=false',
  'checkout',
  '--quiet',
  'HEAD',
  '--',
  'include',
  'ggml/include',
]);
const includes = [
  join(root, 'native'),
  join(llama, 'addon'),
  join(source, 'include'),
  join(source, 'ggml/include'),
  dirname(require.resolve('node-addon-api/package.json')),
  nodeHeaders.find(existsSync),
];
run(process.env.CXX ?? 'c++', [
  '-std=c++20',
  '-fsyntax-only',
  '-Wno-invalid-offsetof',
  '-DNAPI_VERSION=8',
  '-DNODE_ADDON_API_DISABLE_DEPRECATED',
  ...includes.map((path) => `-I${path}`),
  join(root, 'scripts/check-llama-abi.cc'),
]);
console.log('llama_abi.h fits the pinned node-llama-cpp.');
