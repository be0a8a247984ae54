// `npm run test:nodes`: a choice of tests with each release of Node that is supported, 22 and 24 beside the one that runs this. Their
// binaries come from npm, into build/nodes.
//   node scripts/test-nodes.mjs [RELEASE …]
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const releases = process.argv.length > 2 ? process.argv.slice(2) : ['20', '22', '24'];

/** Kernels, features, a service and an answer; and what differs between releases: arrays, disposal, workers, types of the SDK. */
const tests = [
  'test/kernels/inputArrays.test.ts',
  'test/kernels/inputMemory.test.ts',
  'test/kernels/tensorTypes.test.ts',
  'test/kernels/tokenMerger.test.ts',
  'test/kernels/light.test.ts',
  'test/unit/base',
  'test/unit/encode',
  'test/unit/video/openVideo.test.ts',
  'test/model/disposal.test.ts',
  'test/model/otherCopies.test.ts',
  'test/model/noProcess.test.ts',
  'test/model/longvlm.test.ts',
  'test/model/nano.test.ts',
  'test/model/ai.test.ts',
  'test/model/service.test.ts',
];

/** The program of a release; installed where it is missing. */
function nodeOf(release) {
  if (process.version.startsWith(`v${release}.`)) return process.execPath;
  const folder = join(root, 'build/nodes', release);
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
  const program = join(folder, 'node_modules', name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
  if (!existsSync(program)) {
    mkdirSync(folder, { recursive: true });
    // A package of its own: npm would look for one further up.
    writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
    execFileSync('npm', ['install', '--no-save', '--no-audit', '--no-fund', `${name}@${release}`], {
      cwd: folder,
      stdio: 'inherit',
    });
  }
  return program;
}

for (const release of releases) {
  const node = nodeOf(release);
  const version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
  console.log(`\nNode ${version}`);
  const args = [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...tests, '--maxWorkers=1', '--reporter=dot'];
  const { status } = spawnSync(node, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exitCode = 1;
}
