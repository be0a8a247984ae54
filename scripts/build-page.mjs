// Builds the page of `longvlm serve`: its modules by TypeScript, with the types of browsers, and the files beside them.
import { spawnSync } from 'node:child_process';
import { copyFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const [from, to] = [join(root, 'src/page'), join(root, 'dist/page')];

const { status } = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', from], {
  stdio: 'inherit',
});
if (status === 0)
  for (const name of readdirSync(from))
    if (/\.(html|css|svg)$/.test(name)) copyFileSync(join(from, name), join(to, name));
process.exitCode = status ?? 1;
