// Packs the staged packages, and tells what would be published.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hostPlatform } from './addons.mjs';
import { filesBelow, has, megabytes, out, packed, ReleaseError, readJson, root, run } from './common.mjs';

/** What makes a package manager run something at install. */
const installScripts = ['preinstall', 'install', 'postinstall', 'prepare'];

/** @param folders staged packages */
export function packAll(folders) {
  rmSync(packed, { recursive: true, force: true });
  mkdirSync(packed, { recursive: true });
  return folders.map((folder) => {
    const manifest = readJson(join(folder, 'package.json'));
    const script = installScripts.find((name) => manifest.scripts?.[name]);
    if (script !== undefined || filesBelow(folder).includes('binding.gyp'))
      throw new ReleaseError(`${manifest.name} would run ${script ?? 'node-gyp'} when it is installed.`);
    const [packedAs] = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', packed], { cwd: folder }));
    const { name, version, filename, size, unpackedSize, integrity, entryCount } = packedAs;
    return { name, version, filename, size, unpackedSize, integrity, entryCount };
  });
}

const firstLine = (command, args = ['--version']) => (has(command) ? run(command, args).split('\n')[0] : undefined);

/** Of what the packages were made, and by what. */
function provenance() {
  const lock = readJson(join(root, 'package-lock.json')).packages;
  const upstream = ['onnxruntime-node', 'node-llama-cpp', '@node-llama-cpp/linux-arm64'].map((name) => {
    const { version, integrity } = lock[`node_modules/${name}`];
    return { name, version, integrity };
  });
  return {
    commit: run('git', ['rev-parse', 'HEAD']).trim(),
    uncommitted: run('git', ['status', '--porcelain', '--untracked-files=no']).trim().split('\n').filter(Boolean)
      .length,
    machine: hostPlatform(),
    node: process.version,
    npm: run('npm', ['--version']).trim(),
    compilers: [firstLine('c++'), firstLine('aarch64-linux-gnu-g++')].filter(Boolean),
    upstream,
  };
}

/** What CHANGELOG.md says about a version. */
function changesOf(version) {
  const text = readFileSync(join(root, 'CHANGELOG.md'), 'utf8');
  const [, ...sections] = text.split(/^## /m);
  const section = sections.find((part) => part.split('\n', 1)[0].trim() === version);
  if (section === undefined) throw new ReleaseError(`CHANGELOG.md has no section about ${version}.`);
  return section.slice(section.indexOf('\n')).trim();
}

/** Writes build/release/release.json and release.md. */
export function writeReport(packages) {
  const { version } = readJson(join(root, 'package.json'));
  const made = provenance();
  writeFileSync(
    join(out, 'release.json'),
    `${JSON.stringify({ version, packages, provenance: made }, undefined, 2)}\n`,
  );
  const rows = packages.map(
    ({ name, version, size, unpackedSize, entryCount, integrity }) =>
      `| ${name} | ${version} | ${megabytes(size)} | ${megabytes(unpackedSize)} | ${entryCount} | \`${integrity}\` |`,
  );
  const from = made.upstream.map(({ name, version, integrity }) => `- ${name} ${version}, \`${integrity}\``);
  writeFileSync(
    join(out, 'release.md'),
    `# longvlm ${version}: what would be published, in this order

| package | version | packed | installed | files | integrity |
| --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

Commit ${made.commit}${made.uncommitted > 0 ? `, with ${made.uncommitted} files changed since` : ''}, built on ${made.machine} by ${made.compilers.join(' and ')}, Node ${made.node}, npm ${made.npm}.

Files of others, as they are in these packages:

${from.join('\n')}

## Changes

${changesOf(version)}
`,
  );
}
