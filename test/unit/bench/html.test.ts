// The page of npm run bench -- --html.
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { page } from '../../../bench/html/page.js';
import { readResults } from '../../../bench/html/timings.js';
import { pageOf } from '../../../bench/html/write.js';
import { parseOptions } from '../../../bench/options.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const measured = readFileSync(new URL('../../../bench/results/amd-epyc-2core-avx2.json', import.meta.url), 'utf8');

interface Merging {
  what: string;
  case: string;
  bound: { ratio: number };
  faster: { times: number }[];
}
/** What was measured of merging tokens of a shape. */
const mergingOf = (shape: string): Merging =>
  (JSON.parse(measured) as { results: Merging[] }).results.find(
    (row) => row.what === 'mergeTokens' && row.case.startsWith(shape),
  )!;
const digits = (number: number) => number.toPrecision(3);
const tens = mergingOf('[10, 2560, 1024] float32');

const onGpu = JSON.stringify({
  ...{ card: 'NVIDIA T4', emulated: false, machine: { gpuBytes: 15843721216, providers: ['CUDA', 'CPU'] } },
  steps: {
    golden: { status: 'passed', seconds: 0.9, found: { repeat: 100, result: '8 passed' } },
    timings: {
      ...{ status: 'passed', seconds: 24.7 },
      found: {
        'copy on the device copy': { n: 30, medianUs: 128.672, gigabytesPerSecond: 4172.4, timesTwoReads: 0 },
        '[10,2560,1024] f32 merge_tokens': { n: 100, medianUs: 376.512, p10Us: 373.44, timesTwoReads: 7.491 },
        'PyTorch [10,2560,1024] float32, all segments at once': { medianUs: 3302.344 },
      },
    },
    copies: { status: 'failed', reason: 'none <were> counted', seconds: 2.5 },
  },
});

const lines = [
  { method: 'vCast', milliseconds: 12.5, bound: { name: '2 reads', milliseconds: 10 }, kept: 1568, error: 0.3125 },
  { method: 'evs', milliseconds: 8.25, references: [{ name: "PyTorch 2.13, authors' steps", milliseconds: 99 }] },
]
  .map((line) => JSON.stringify({ cpu: 'Other <CPU>', threads: 2, shape: '[32, 196, 3584] float32', ...line }))
  .join('\n');

/** All numbers in JSON. */
function numbersIn(value: unknown): number[] {
  if (typeof value === 'number') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(numbersIn) : [];
}

/** Tags and text in turn; fails where elements do not end as they began. */
function parsed(html: string): { readonly tags: string[]; readonly text: string } {
  const open: string[] = [];
  const tags: string[] = [];
  let text = '';
  for (const [, tag, between] of html.matchAll(/<([^<>]+)>|([^<>]+)/g)) {
    if (between !== undefined) text += open.includes('style') ? '' : between;
    if (tag === undefined) continue;
    tags.push(tag);
    const [, closing, name] = /^(\/?)([!\w]+)/.exec(tag)!;
    if (closing) expect(name).toBe(open.pop());
    else if (!tag.endsWith('/') && !['!doctype', 'meta', 'br'].includes(name!)) open.push(name!);
  }
  expect(open).toEqual([]);
  return { tags, text };
}

/** How often each number is in a list. */
const counted = (numbers: readonly number[]) =>
  numbers.reduce((counts, number) => counts.set(number, (counts.get(number) ?? 0) + 1), new Map<number, number>());

describe('the page', () => {
  const files = [
    readResults('bench/results/epyc.json', measured),
    readResults('t4.json', onGpu),
    readResults('methods.jsonl', lines),
  ];
  const html = page(files);
  const { tags, text } = parsed(html);

  test('has every number of the results, unrounded', () => {
    const due = counted(
      [measured, onGpu, `[${lines.replaceAll('\n', ',')}]`].flatMap((json) => numbersIn(JSON.parse(json))),
    );
    const found = counted(tags.flatMap((tag) => /^data value="(.*)"$/.exec(tag)?.[1] ?? []).map(Number));
    expect([...due].filter(([number, count]) => (found.get(number) ?? 0) < count)).toEqual([]);
    expect(due.size).toBeGreaterThan(400);
  });

  test('loads nothing, runs nothing, and leads nowhere', () => {
    expect(tags.filter((tag) => /^(script|link|img|iframe|object|base)\b|\s(src|on\w+)=/i.test(tag))).toEqual([]);
    expect(html).not.toMatch(/https?:|url\(|@import/);
    const ids = tags.flatMap((tag) => /\sid="(.*?)"/.exec(tag)?.[1] ?? []);
    const links = tags.flatMap((tag) => /\shref="(.*?)"/.exec(tag)?.[1] ?? []);
    expect(links).toEqual(ids.map((id) => `#${id}`));
    expect(tags).toContain(
      `meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"`,
    );
  });

  test('compares each form of results with bounds and references', () => {
    for (const told of [
      ...['mergeTokens [10, 2560, 1024] float32, 100 frames at 224 px', `${digits(tens.bound.ratio)} ×`],
      `${digits(tens.faster[0]!.times)} ×`,
      ...['merge_tokens [10, 2560, 1024] float32', '0.377 ms', '7.49 ×', '8.77 ×'],
      ...['vCast [32, 196, 3584] float32', '1.25 ×', '12.0 ×', 'vCast, 1568 tokens', '0.313'],
      ...['none &lt;were&gt; counted', 'Other &lt;CPU&gt;, 2 threads'],
    ])
      expect(text).toContain(told);
  });

  test('draws bars in proportion', () => {
    const width = (label: string) =>
      Number(new RegExp(`aria-label="${label}">.*?<rect[^>]* width="([\\d.]+)%"`).exec(html)?.[1]);
    const [long, short] = [mergingOf('[1, 512, 1024] float32'), mergingOf('[1, 2560, 1024] float32')];
    const label = (shape: string, { bound }: Merging) =>
      `mergeTokens \\[1, ${shape}, 1024\\] float32, \\d+ frames at 224 px, AMD EPYC, avx2, 2 threads: ${digits(bound.ratio)} ×`;
    expect(width(label('512', long))).toBe(100);
    expect(width(label('2560', short))).toBeCloseTo((100 * short.bound.ratio) / long.bound.ratio, 1);
  });
});

test('files that hold no results, and folders without any, are refused by name', async () => {
  expect(() => readResults('a/odd.json', '{"results": 3}')).toThrow(/^odd\.json holds no results: expected/);
  expect(() => readResults('a/cut.json', '{"results": [')).toThrow(/^cut\.json is no JSON\./);
  const folder = await temporaryFolder();
  const empty = join(folder, 'empty');
  await mkdir(empty);
  expect(() => pageOf([empty])).toThrow(`There are no results in ${empty}. Make some: npm run bench -- --save FILE`);
  const file = join(folder, 'lines.jsonl');
  await writeFile(file, lines);
  expect(pageOf([folder])).toBe(pageOf([file]));
  expect(() => pageOf([join(folder, 'missing.json')])).toThrow(/missing\.json is missing\. Name files/);
});

test('--html takes files of results, and nothing that measures', () => {
  expect(parseOptions(['--html', 'a.json', '--save', 'p.html'], {})).toMatchObject({
    html: ['a.json'],
    save: 'p.html',
  });
  expect(parseOptions(['--save', 'p.json'], {}).html).toBeUndefined();
  expect(() => parseOptions(['a.json'], {})).toThrow("Unexpected argument 'a.json'. See --help.");
  expect(() => parseOptions(['--html', '--quick'], {})).toThrow(/neither --json, --quick nor --filter with --html/);
});
