// Installs what build/release/packages holds (npm run release -- --pack-only) from a registry on loopback, in every way in
// which people do, and uses it: `npm run test:install [-- managers|uses] [--only PATTERN]`, of which the pattern is for names of
// package managers and of groups of uses. Takes minutes. Prints a table, and writes it to build/release/install.json.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { out, packed, ReleaseError, readJson, step } from '../release/common.mjs';
import { publish, startRegistry } from '../release/registry.mjs';
import { managerRows } from './managers.mjs';
import { machine } from './project.mjs';
import { useRows } from './uses.mjs';

const groups = { managers: managerRows, uses: useRows };

function line({ name, passed, skipped, seconds, bytes, packages, note = '' }) {
  const state = skipped ? 'not run' : passed ? 'ok' : 'FAILED';
  const size = bytes === undefined ? '' : `${(bytes / 1e6).toFixed(0)} MB, ${packages} packages`;
  const time = seconds === undefined ? '' : `${seconds.toFixed(1)} s`;
  return `${state.padEnd(8)} ${name.padEnd(36)} ${time.padStart(8)}  ${size.padEnd(22)} ${note}`.trimEnd();
}

/**
 * @param wanted the groups of rows
 * @param only the names of rows
 * @returns whether all passed
 */
export async function installTest(wanted, only) {
  if (!existsSync(join(out, 'release.json')))
    throw new ReleaseError('Nothing is packed. First run: npm run release -- --pack-only');
  const started = Date.now();
  const { packages } = readJson(join(out, 'release.json'));
  const registry = await step('Starting a registry', startRegistry);
  const rows = [];
  try {
    await step('Publishing to it', () =>
      publish(
        registry,
        packages.map(({ filename }) => join(packed, filename)),
      ),
    );
    const user = await machine(registry);
    try {
      for (const group of wanted)
        for await (const row of groups[group](user, only)) {
          rows.push({ group, ...row });
          console.log(line(row));
        }
    } finally {
      if (!process.env.LONGVLM_KEEP) user.close();
      else console.error(`Kept: ${user.folder}`);
    }
  } finally {
    await registry.close();
  }
  console.log(`${rows.length} rows in ${((Date.now() - started) / 60_000).toFixed(1)} minutes`);
  writeFileSync(join(out, 'install.json'), `${JSON.stringify(rows, undefined, 2)}\n`);
  return rows.every(({ passed, skipped }) => passed || skipped);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2);
  const at = args.indexOf('--only');
  const only = at < 0 ? undefined : new RegExp(args[at + 1]);
  const wanted = args.filter((name) => Object.hasOwn(groups, name));
  try {
    if (!(await installTest(wanted.length > 0 ? wanted : Object.keys(groups), only))) process.exitCode = 1;
  } catch (error) {
    if (!(error instanceof ReleaseError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
