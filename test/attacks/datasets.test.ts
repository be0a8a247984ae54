// Data sets of strangers, and files that evaluations write.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryPath } from '../../dist/base/temporaryName.js';
import { ResumeFile } from '../../dist/eval/resumeFile.js';
import { evaluate, LongVLM, readDataset, savePredictions } from '../../dist/index.js';
import { longvlm } from '../fixtures/commandLine.js';
import { pico, picoOptions } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

const unix = process.platform !== 'win32';
const folder = await temporaryFolder();
const root = join(folder, 'root');
let vlm: LongVLM;
beforeAll(async () => {
  mkdirSync(join(root, 'sub'), { recursive: true });
  writeFileSync(join(root, 'a.mp4'), readFileSync(pico.video));
  writeFileSync(join(folder, 'secret.mp4'), readFileSync(pico.video));
  mkdirSync(join(folder, 'root2'));
  writeFileSync(join(folder, 'root2', 'a.mp4'), '');
  if (unix) {
    symlinkSync('a.mp4', join(root, 'inside.mp4'));
    symlinkSync('../secret.mp4', join(root, 'outside.mp4'));
    symlinkSync('..', join(root, 'up'));
    symlinkSync(root, join(folder, 'link'));
  }
  vlm = await LongVLM.load(picoOptions);
});
afterAll(() => vlm.dispose());

let made = 0;
function written(content: string | Uint8Array, place = root): string {
  const file = join(place, `${made++}.jsonl`);
  writeFileSync(file, content);
  return file;
}
const line = (change: object = {}) => JSON.stringify({ video: 'a.mp4', question: 'q', answer: 'a', ...change });

describe('a root', () => {
  test.each([
    ['/etc/hostname'],
    ['../secret.mp4'],
    ['sub/../../secret.mp4'],
    ['../root2/a.mp4'],
    // Nothing is told of whether it exists.
    ['../no-such-file.mp4'],
    ['.'],
    ...(unix ? [['outside.mp4'], ['up/secret.mp4']] : []),
  ])('keeps out %s', async (video) => {
    const file = written(`${line()}\n${line({ video })}\n`);
    await expect(readDataset(file, { root })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_DATASET',
      message: expect.stringMatching(
        /\.jsonl, line 2: .* is outside of the root .*root\. Correct the line or remove it\.$/,
      ),
    });
    const entries = [{ video: resolve(root, video), question: 'q', answer: 'a', kind: 'what' }];
    await expect(evaluate(vlm, { entries }, { root })).rejects.toMatchObject({ code: 'ERR_LONGVLM_DATASET' });
  });

  test.each(['https://example.org/a.mp4', 'file:///etc/hostname', 'concat:a|b', 'FILE:///x'])(
    'keeps out the URL %s',
    async (video) => {
      const entries = [{ video, question: 'q', answer: 'a', kind: 'what' }];
      await expect(evaluate(vlm, { entries }, { root })).rejects.toMatchObject({
        code: 'ERR_LONGVLM_DATASET',
        message: expect.stringMatching(/is outside of the root/),
      });
    },
  );

  test.skipIf(!unix)('lets in what is in it, by whatever name it is called', async () => {
    const names = ['a.mp4', 'sub/../a.mp4', 'inside.mp4', join(root, 'a.mp4')];
    const file = written(names.map((video) => line({ video })).join('\n'));
    const through = join(folder, 'link');
    for (const [place, from] of [
      [root, file],
      [through, file],
      [root, join(through, basename(file))],
    ] as const)
      expect((await readDataset(from, { root: place })).entries).toHaveLength(4);
  });

  test('is a folder', async () => {
    const file = written(line());
    for (const wrong of [join(folder, 'none'), file])
      await expect(readDataset(file, { root: wrong })).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
    await expect(readDataset(file, { root: 5 as never })).rejects.toThrow(TypeError);
  });

  test('is a flag of the command line', async () => {
    const file = written(line({ video: '/etc/hostname' }));
    const { code, stderr } = await longvlm('eval', file, '--root', root);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/line 1: \/etc\/hostname is outside of the root .*\n$/)]);
  });
});

describe('a hostile data set', () => {
  test.each<[string, string | Uint8Array, RegExp]>([
    ['a line above 1 MiB', `${line()}\n${line({ question: 'x'.repeat(1 << 20) })}`, /line 2: the line is above 1 MiB/],
    ['no line break at all', 'x'.repeat(1 << 21), /line 1: the line is above 1 MiB/],
    [
      'deep nesting',
      `${line()}\n${'['.repeat(200_000)}${']'.repeat(200_000)}`,
      /line 2: It is nested more than 100 deep/,
    ],
    [
      'deep nesting beside',
      `{"x":${'{"x":'.repeat(5000)}1${'}'.repeat(5001)}`,
      /line 1: It is nested more than 100 deep/,
    ],
    ['a zero byte', `${line()}\n\0\n`, /line 2: .*JSON/],
    [
      'keys of the prototype',
      '{"__proto__":{"video":"a.mp4","question":"q","answer":"a"}}',
      /line 1: Expected non-empty string for video/,
    ],
    [
      'a constructor for a text',
      '{"video":"a.mp4","question":{"toString":1},"answer":"a"}',
      /line 1: Expected non-empty string for question/,
    ],
    ['a number as a text', line({ video: 5 }), /line 1: Expected non-empty string for video but received 5/],
    [
      'bytes that are no UTF-8 in the second line',
      Buffer.concat([Buffer.from(`${line()}\n`), Buffer.from([0xff, 0xfe])]),
      /line 2: the line is no UTF-8 text/,
    ],
    ['UTF-16', Buffer.from(`\ufeff${line()}`, 'utf16le'), /line 1: the line is no UTF-8 text/],
    [
      'an answer that takes long to compare',
      line({ answer: 'a,'.repeat(20_000) }),
      /line 1: Expected text of at most 20000 characters for answer/,
    ],
    [
      'a kind that is a text of its own',
      line({ kind: 'k'.repeat(201) }),
      /line 1: Expected text of at most 200 characters for kind/,
    ],
    ['control characters', '{"\x1b[2J', /^\P{Cc}*line 1: \P{Cc}*$/u],
  ])('with %s is refused by line', async (_, content, message) => {
    await expect(readDataset(written(content))).rejects.toMatchObject({
      name: 'LongVLMError',
      code: 'ERR_LONGVLM_DATASET',
      message: expect.stringMatching(message),
    });
  });

  test('with a zero byte in the name of a video names it', async () => {
    await expect(readDataset(written(line({ video: 'a\0\x1b.mp4' })))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
      message: expect.stringMatching(/1 of the 1 videos .* cannot be found: .*a\\x00\\x1b\.mp4\. /),
    });
  });

  test('of 50,000 lines is read while other work goes on', async () => {
    const file = join(root, 'long.jsonl');
    const out = createWriteStream(file);
    for (let part = 0; part < 50; part++)
      out.write(
        Array.from({ length: 1000 }, (_, i) => line({ question: `${part}-${i}` }))
          .join('\r\n')
          .concat('\r\n'),
      );
    out.end();
    await once(out, 'finish');
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const { entries } = await readDataset(file);
    clearInterval(timer);
    expect(entries).toHaveLength(50_000);
    expect(entries.at(-1)!.question).toBe('49-999');
    expect(turns).toBeGreaterThan(20);
  });

  test.skipIf(!unix)('that is a pipe or a folder is refused at once', async () => {
    const pipe = join(root, 'pipe.jsonl');
    execFileSync('mkfifo', [pipe]);
    for (const file of [pipe, root, '/dev/zero'])
      await expect(readDataset(file)).rejects.toMatchObject({
        code: 'ERR_LONGVLM_FILE',
        message: expect.stringMatching(/not a file/),
      });
  });
});

test('a video without frames in the range is named', async () => {
  const entries = ['a', 'sub/../a'].map((name) => ({
    video: join(root, `${name}.mp4`),
    question: 'q',
    answer: 'a',
    kind: 'what',
  }));
  await expect(evaluate(vlm, { entries }, { sampling: { start: 60 } })).rejects.toMatchObject({
    name: 'LongVLMError',
    code: 'ERR_LONGVLM_VIDEO',
    message: expect.stringMatching(
      /root.a\.mp4 has no frames in the range that is asked for: .*received 60: the video lasts 20\.16 s\. Leave it out/,
    ),
  });
});

describe('what an evaluation writes', () => {
  const run = { dataset: 'd', model: 'm', settings: 's' };
  const entry = { video: 'a.mp4', question: 'q', answer: 'a', kind: 'what' };

  test('does not replace other files', async () => {
    const data = written(line());
    const other = join(folder, 'package.json');
    writeFileSync(other, '{"name":"mine"}');
    const before = [data, other].map((file) => readFileSync(file));
    await expect(savePredictions(other, [])).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
      message: expect.stringMatching(
        /package\.json exists and holds no predictions, so it is not replaced\. Remove it/,
      ),
    });
    const json = written(line()).replace(/jsonl$/, 'json');
    writeFileSync(json, line());
    for (const [dataset, output, message] of [
      [data, other, /holds no predictions/],
      [json, json, /is the input itself/],
    ] as const) {
      const { code, stderr } = await longvlm('eval', dataset, '-o', output);
      expect([code, stderr]).toEqual([1, expect.stringMatching(message)]);
    }
    expect([data, other].map((file) => readFileSync(file))).toEqual(before);
    // Its own, and an empty one.
    const own = join(folder, 'own.json');
    writeFileSync(own, '');
    const prediction = { entry, answers: ['x'], score: 0 };
    for (const predictions of [[], [prediction], Array.from({ length: 2001 }, () => prediction), []]) {
      await savePredictions(own, predictions);
      const text = readFileSync(own, 'utf8');
      expect(JSON.parse(text)).toHaveLength(predictions.length);
      expect(text).toBe(`${JSON.stringify(JSON.parse(text), undefined, 2)}\n`);
    }
  });

  test('is used by one evaluation at a time, in whatever process', async () => {
    const place = join(folder, 'claims');
    mkdirSync(place);
    const file = join(place, 'r.jsonl');
    const first = await ResumeFile.open(file, run, [entry]);
    const inUse = {
      code: 'ERR_LONGVLM_FILE',
      message: expect.stringMatching(/r\.jsonl is in use by another evaluation\. Wait/),
    };
    await expect(ResumeFile.open(file, run, [entry])).rejects.toMatchObject(inUse);
    await first.append(0, ['x']);
    await first.close();
    expect(readdirSync(place)).toEqual(['r.jsonl']);
    const script = `import { ResumeFile } from ${JSON.stringify(new URL('../../dist/eval/resumeFile.js', import.meta.url).href)};
      await ResumeFile.open(${JSON.stringify(file)}, ${JSON.stringify(run)}, [${JSON.stringify(entry)}]);
      console.log('open');
      setInterval(() => {}, 1e6);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
    await once(child.stdout, 'data');
    await expect(ResumeFile.open(file, run, [entry])).rejects.toMatchObject(inUse);
    child.kill('SIGKILL');
    await once(child, 'close');
    expect(readdirSync(place)).toHaveLength(2);
    const resumed = await ResumeFile.open(file, run, [entry]);
    expect([...resumed.answers]).toEqual([[0, ['x']]]);
    await resumed.close();
    expect(readdirSync(place)).toEqual(['r.jsonl']);
    // As another host would make it.
    const foreign = temporaryPath(file).replace(/longvlm-[0-9a-f]{8}/, 'longvlm-00000000');
    writeFileSync(foreign, '');
    await expect(ResumeFile.open(file, run, [entry])).rejects.toThrow(`delete ${foreign}`);
  });

  test.skipIf(!unix)('is no pipe, device or large file of something else', async () => {
    const pipe = join(folder, 'pipe.unfinished.jsonl');
    execFileSync('mkfifo', [pipe]);
    for (const [file, message] of [
      [pipe, /is a named pipe/],
      ['/dev/null', /is a device/],
      [folder, /is a folder/],
      [
        fileURLToPath(new URL('../fixtures/pico/llm.gguf', import.meta.url)),
        /is no evaluation that was left unfinished/,
      ],
    ] as const)
      await expect(ResumeFile.open(file, run, [entry])).rejects.toThrow(message);
    expect(existsSync(pipe)).toBe(true);
  });
});
