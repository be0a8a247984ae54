// Makes a release: builds, packs all packages, and shows that they install and work.
//
//   npm run release -- --dry-run [--platforms host|LIST] [--addons DIR] [--cuda] [--keep]
//   npm run release -- --pack-only …
//
// The addon is built for this machine and for those that compilers here are for; --addons DIR adds others' builds,
// DIR/<platform>/longvlm.node. --cuda adds the library of GPU kernels, if nvcc is installed. The packages are packed into
// build/release/packages. A dry run publishes them to a registry on loopback and installs them into empty projects, by each
// package manager, where nothing but that registry is reachable; each project asks the demo question. What would be published
// is written to build/release/release.json and release.md. Publishing is `npm publish` of each file, in the order of
// release.json, as .github/workflows/release.yml does it.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { buildCuda, buildFor, buildForHost, crossPlatforms, hostPlatform } from './addons.mjs';
import { compiled, ReleaseError, root, run, step } from './common.mjs';
import { platforms } from './manifests.mjs';
import { packAll, writeReport } from './pack.mjs';
import { stageAll } from './stage.mjs';

const usage = 'usage: npm run release -- --dry-run|--pack-only [--platforms host|LIST] [--addons DIR] [--cuda]';

function options() {
  const boolean = { type: 'boolean', default: false };
  const string = { type: 'string' };
  try {
    const { values } = parseArgs({
      options: { 'dry-run': boolean, 'pack-only': boolean, cuda: boolean, platforms: string, addons: string },
    });
    if (!values['dry-run'] && !values['pack-only'])
      throw new Error('This only rehearses a release: give --dry-run, or --pack-only');
    return values;
  } catch (error) {
    throw new ReleaseError(`${error.message}\n${usage}`);
  }
}

/** The addon of each platform: built here, or brought. */
async function collectAddons({ platforms: wanted, addons: folder }) {
  const host = hostPlatform();
  const here = [host, ...crossPlatforms()];
  const names = wanted === undefined ? here : wanted === 'host' ? [host] : wanted.split(',');
  const unknown = names.find((name) => !here.includes(name));
  if (unknown !== undefined)
    throw new ReleaseError(
      `'${unknown}' cannot be built here, only ${here.join(', ')}. Use --addons for what was built elsewhere.`,
    );
  const addons = new Map();
  for (const name of folder === undefined ? [] : readdirSync(resolve(folder))) {
    const addon = join(resolve(folder), name, 'longvlm.node');
    if (!Object.hasOwn(platforms, name) || !existsSync(addon))
      throw new ReleaseError(`${addon} is not the addon of a platform: ${Object.keys(platforms).join(', ')}.`);
    addons.set(name, addon);
  }
  for (const name of names)
    if (!addons.has(name))
      addons.set(name, await step(`Building for ${name}`, () => (name === host ? buildForHost() : buildFor(name))));
  return addons;
}

async function main() {
  const chosen = options();
  rmSync(compiled, { recursive: true, force: true });
  const tsc = [join(root, 'node_modules/typescript/bin/tsc'), '-p', root, '--outDir', compiled];
  await step('Compiling TypeScript', () => run(process.execPath, tsc));
  await step('Building the page', () => run(process.execPath, [join(root, 'scripts/build-page.mjs'), compiled]));
  const addons = await collectAddons(chosen);
  const cuda = chosen.cuda ? await step('Building for CUDA', buildCuda) : undefined;
  if (chosen.cuda && cuda === undefined) console.error('There is no nvcc: the package of GPU kernels is left out.');
  const packages = await step('Packing', () => packAll(stageAll(addons, cuda)));
  writeReport(packages);
  for (const { name, version, size, unpackedSize } of packages)
    console.log(
      `${`${name}@${version}`.padEnd(44)} ${(size / 1e6).toFixed(1).padStart(7)} MB packed ${(unpackedSize / 1e6).toFixed(1).padStart(7)} MB`,
    );
  const missing = Object.keys(platforms).filter((name) => !addons.has(name));
  if (missing.length > 0) console.log(`Not built here, and so not in this release: ${missing.join(', ')}.`);
  if (chosen['pack-only']) return;
  const { installTest } = await import('../install-test/main.mjs');
  if (!(await installTest(['managers']))) process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  if (!(error instanceof ReleaseError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
