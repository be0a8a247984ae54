// Builds the page of `longvlm serve`: its modules by TypeScript, with the types of browsers, and the files beside them.
//
//   node scripts/build-page.mjs [where the rest was compiled to, dist by default]
import { spawnSync } from 'node:child_process';
import { copyFileSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const compiled = resolve(process.argv[2] ?? join(root, 'dist'));
const from = join(root, 'src/page');

const tsc = [join(root, 'node_modules/typescript/bin/tsc'), '-p', from, '--outDir', compiled];
const { status } = spawnSync(process.execPath, tsc, { stdio: 'inherit' });
if (status === 0)
  for (const name of readdirSync(from))
    if (/\.(html|css|svg)$/.test(name)) copyFileSync(join(from, name), join(compiled, 'page', name));
process.exitCode = status ?? 1;
