import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { temporaryFolder } from '../../fixtures/vision/index.js';

type Module = typeof import('../../../dist/cache/knownDigests.js');
const folder = await temporaryFolder();
const module = new URL('../../../dist/cache/knownDigests.js', import.meta.url).href;
let processes = 0;
let caches = 0;
let file: string;
const long = 100 << 20;
const digest = (value: number) => value.toString(16).padStart(64, '0');

/** As another process has it, with an empty memory. */
async function another(): Promise<Module> {
  return (await import(`${module}?${processes++}`)) as Module;
}

beforeEach(() => {
  process.env.LONGVLM_CACHE = join(folder, String(caches++));
  file = join(process.env.LONGVLM_CACHE, 'fingerprints', 'longvlm-fingerprints.json');
});

test('what took long is known to other processes, the rest to this one alone', async () => {
  const first = await another();
  await first.remember(digest(1), digest(2), long);
  await first.remember(digest(3), digest(4), 1000);
  expect([await first.recall(digest(1), long), await first.recall(digest(3), 1000)]).toEqual([digest(2), digest(4)]);
  const second = await another();
  expect([await second.recall(digest(1), long), await second.recall(digest(3), 1000)]).toEqual([digest(2), undefined]);
  expect(await second.recall(digest(9), long)).toBeUndefined();
});

test.each<[string, string]>([
  ['damaged', '{"version":1,"known":[["'],
  ['of another kind', '[]'],
  ['of another version', JSON.stringify({ version: 2, known: [[digest(1), digest(2)]] })],
  ['with an answer that is none', JSON.stringify({ version: 1, known: [[digest(1), '../x']] })],
  ['too long', JSON.stringify({ version: 1, known: Array(9000).fill([digest(1), digest(2)]) })],
])('a file that is %s is as none, and written anew', async (_, content) => {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content);
  const module = await another();
  expect(await module.recall(digest(1), long)).toBeUndefined();
  await module.remember(digest(5), digest(6), long);
  expect(await (await another()).recall(digest(5), long)).toBe(digest(6));
});

test('the file does not grow without end: the oldest go', async () => {
  await mkdir(dirname(file), { recursive: true });
  const known = Array.from({ length: 1000 }, (_, i) => [digest(i), digest(i)]);
  await writeFile(file, JSON.stringify({ version: 1, known }));
  await (await another()).remember(digest(5000), digest(1), long);
  const kept = (JSON.parse(await readFile(file, 'utf8')) as { known: [string, string][] }).known;
  expect(kept).toHaveLength(1000);
  expect([kept[0]![0], kept.at(-1)![0]]).toEqual([digest(1), digest(5000)]);
});

test('a cache that cannot be written is no error', async () => {
  const module = await another();
  await writeFile(process.env.LONGVLM_CACHE!, '');
  await module.remember(digest(1), digest(2), long);
  expect(await (await another()).recall(digest(1), long)).toBeUndefined();
  await rm(process.env.LONGVLM_CACHE!);
  await mkdir(process.env.LONGVLM_CACHE!);
  await chmod(process.env.LONGVLM_CACHE!, 0o500);
  await module.remember(digest(1), digest(2), long);
});
