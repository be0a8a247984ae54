// A short run of the fuzzers, and again the files that once failed.
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { repository, runNode } from '../kernels/childProcess.js';

// With the command `npm run fuzz -- --seed 1 --only NAME --case N` a failure is repeated.
const quick = ['native', 'arguments', 'kernels', 'safetensors', 'sharded', 'pytorch', 'mmproj', 'features', 'dataset'];
const corpus = join(repository, 'fuzz/corpus');
let scratch: string;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'longvlm-fuzz-test-'));
  await promisify(execFile)(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'fuzz'], { cwd: repository });
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

test('60 cases of each quick target: no raw error, crash, hang, process or file left', async () => {
  const args = ['--only', quick.join(), '--cases', '60', '--seed', '1', '--jobs', '2'];
  const { code, stdout, stderr } = await runNode(['build/fuzz/fuzz/main.js', ...args]);
  expect(code, stdout + stderr).toBe(0);
  expect(stdout).toContain(`${60 * quick.length} cases, 0 failures`);
});

const kept = existsSync(corpus)
  ? readdirSync(corpus).flatMap((target) => readdirSync(join(corpus, target)).map((name) => [target, name] as const))
  : [];
test.each(kept)('%s: %s no longer fails', async (target, name) => {
  const batch = { target, seed: '0', from: 0, to: 1, folder: scratch, input: join(corpus, target, name) };
  const child = new Promise<string>((resolve) => {
    const started = execFile(
      'sh',
      ['-c', `exec "$0" build/fuzz/fuzz/child.js "$1" 3>&1`, process.execPath, JSON.stringify(batch)],
      {
        cwd: repository,
        env: { ...process.env, TMPDIR: join(scratch, 'tmp') },
      },
      (_, stdout) => resolve(stdout),
    );
    started.stdin?.end();
  });
  const reports = (await child)
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { kind: string });
  expect(reports.filter(({ kind }) => kind === 'failure')).toEqual([]);
  expect(reports.at(-1)).toMatchObject({ kind: 'refused' });
});
