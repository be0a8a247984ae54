import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const script = fileURLToPath(new URL('../../scripts/crash.mjs', import.meta.url));

// More rounds: node scripts/crash.mjs --rounds 200
test('commands that are killed leave no half file, and the next run sweeps', () => {
  const only = ['--only', 'encode,weights'];
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, '--rounds', '2', '--seed', '7', ...only], {
    encoding: 'utf8',
  });
  expect(stdout + stderr).toMatch(/"rounds":2,.*"faults":0\}\n$/);
  expect(status).toBe(0);
}, 240_000);
