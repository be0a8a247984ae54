import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const script = (name: string) => fileURLToPath(new URL(`../../scripts/${name}`, import.meta.url));

// More rounds: node scripts/crash.mjs --rounds 200
test('commands that are killed leave no half file, and the next run sweeps', () => {
  const only = ['--only', 'encode,weights'];
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [script('crash.mjs'), '--rounds', '2', '--seed', '7', ...only],
    {
      encoding: 'utf8',
    },
  );
  expect(stdout + stderr).toMatch(/"rounds":2,.*"faults":0\}\n$/);
  expect(status).toBe(0);
}, 240_000);

// More rounds: node scripts/exits.mjs --rounds 200
test('processes and worker threads end as they were told to, in the middle of encoding', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script('exits.mjs'), '--rounds', '10'], {
    encoding: 'utf8',
  });
  expect(stdout + stderr).toBe('{"rounds":10,"kinds":5,"faults":0}\n');
  expect(status).toBe(0);
}, 240_000);
