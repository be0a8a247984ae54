// Lists, results files and the order of work, with a runner that answers at once.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { readList, readQuestions } from '../../../dist/batch/readList.js';
import {
  type BatchItem,
  type BatchOptions,
  type BatchResult,
  type BatchRunner,
  runBatch,
} from '../../../dist/index.js';

const folder = mkdtempSync(path.join(tmpdir(), 'longvlm-batch-'));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;
const newFile = (content?: string, ending = '.jsonl') => {
  const file = path.join(folder, `${files++}${ending}`);
  if (content !== undefined) writeFileSync(file, content);
  return file;
};
const jsonLines = (...values: object[]) => values.map((value) => `${JSON.stringify(value)}\n`).join('');
const linesOf = (file: string) =>
  readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

const usage = { promptTokens: 3, videoTokens: 2, answerTokens: 1 };
const sampled = { frames: 1, segments: 1, durationSeconds: 1 };
const answerTo = (id: string): BatchResult => ({
  ...{ id, answer: `about ${id}`, stopReason: 'endOfAnswer', usage, sampled, warnings: [] },
  timings: { encode: 0, wait: 0, answer: 0 },
});
const failureOf = (id: string): BatchResult => ({
  id,
  error: { code: 'ERR_LONGVLM_VIDEO', message: 'It is no video.', canRetry: false },
});
/** A runner that says what it was asked. */
function recorder(answer: (item: BatchItem) => BatchResult | Promise<BatchResult> = ({ id }) => answerTo(id)) {
  const asked: string[] = [];
  const runner: BatchRunner = {
    identity: 'a model',
    run: async (item) => {
      asked.push(item.id);
      return answer(item);
    },
    dispose: async () => {},
  };
  return { asked, runner };
}
const questions = (count: number, video = (i: number) => `/${i}.mp4`): BatchItem[] =>
  Array.from({ length: count }, (_, i) => ({ id: String(i), video: video(i), question: '?' }));
async function resultsOf(items: readonly BatchItem[], options: BatchOptions): Promise<BatchResult[]> {
  const results: BatchResult[] = [];
  for await (const result of runBatch(items, options)) results.push(result);
  return results;
}

describe('a list', () => {
  const ask = { questions: [{ question: 'What?' }], recursive: false };

  test('is a folder, of which videos are taken by their endings, hidden ones left out', async () => {
    const place = path.join(folder, 'videos');
    mkdirSync(path.join(place, 'more', '.git'), { recursive: true });
    const names = ['b.MP4', 'a.mkv', 'notes.txt', '.hidden.mp4', 'more/c.webm', 'more/.git/d.mp4'];
    for (const name of names) writeFileSync(path.join(place, name), '');
    symlinkSync(path.join(place, 'a.mkv'), path.join(place, 'linked.mp4'));
    symlinkSync(place, path.join(place, 'more', 'circle'));
    symlinkSync('nowhere', path.join(place, 'broken.mp4'));
    const videosOf = async (recursive: boolean) =>
      (await readList(place, { ...ask, recursive })).map((item) =>
        'video' in item ? path.relative(place, item.video) : '',
      );
    expect(await videosOf(false)).toEqual(['a.mkv', 'b.MP4', 'linked.mp4']);
    expect(await videosOf(true)).toEqual(['a.mkv', 'b.MP4', 'linked.mp4', 'more/c.webm']);
    mkdirSync(path.join(folder, 'outer', 'inner'), { recursive: true });
    await expect(readList(path.join(folder, 'outer'), ask)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_DATASET',
      message: expect.stringMatching(/holds no videos \(\.mp4, .*Give --recursive/),
    });
  });

  test('has paths relative to it and URLs, each asked every question, and once', async () => {
    const file = newFile('a b.mp4\r\n\n/x/c.mp4\nhttps://example.org/d.mp4\na b.mp4\n', '.txt');
    const items = await readList(file, { ...ask, questions: [{ question: 'What?' }, { id: 'who', question: 'Who?' }] });
    expect(items.map((item) => 'video' in item && [item.video, item.question])).toEqual(
      [path.join(folder, 'a b.mp4'), '/x/c.mp4', 'https://example.org/d.mp4'].flatMap((video) => [
        [video, 'What?'],
        [video, 'Who?'],
      ]),
    );
    expect(items.map(({ id }) => id)).toEqual(
      ['a b.mp4', '/x/c.mp4', 'https://example.org/d.mp4'].flatMap((name) => [
        expect.stringMatching(new RegExp(`^${name}#[0-9a-f]{8}$`)),
        `${name}#who`,
      ]),
    );
  });

  test('has questions and options of its own', async () => {
    const file = newFile(
      jsonLines(
        { id: 'one', video: 'a.mp4', question: 'Mine?', options: { frames: 20, maxTokens: 5 }, answer: 'ignored' },
        { video: 'a.mp4', options: { end: 3 } },
      ),
    );
    const video = path.join(folder, 'a.mp4');
    expect(await readList(file, ask)).toEqual([
      { id: 'one', video, question: 'Mine?', options: { frames: 20, maxTokens: 5 } },
      { id: expect.stringMatching(/^a\.mp4#/), video, question: 'What?', options: { end: 3 } },
    ]);
  });

  test.each([
    ['a question that is none', jsonLines({ question: 'a' }, { question: 5 }), /line 2: .*string for question but/],
    ['a question that is no JSON', `${jsonLines({ question: 'a' })}\n{"question": \n`, /line 3: .*Correct the line/],
    ['nothing', '\n \n', /holds no questions/],
  ])('of questions with %s is refused, with the line', async (_, content, message) => {
    const file = newFile(content);
    const failure = expect(readQuestions(file)).rejects;
    await failure.toMatchObject({ code: 'ERR_LONGVLM_DATASET', message: expect.stringMatching(message) });
  });

  const request = { method: 'POST', url: '/v1/chat/completions', body: {} };
  test.each([
    [
      'an id twice',
      jsonLines({ id: 'a', video: 'a', question: '1' }, { id: 'a', video: 'b', question: '2' }),
      /line 2/,
    ],
    ['an option that is none', jsonLines({ video: 'a', options: { frame: 3 } }), /line 1: .* for options.frame/],
    ['another address', jsonLines({ custom_id: 'a', ...request, url: '/v1/embeddings' }), /completions for url but/],
    ['a custom_id twice', jsonLines({ custom_id: 'a', ...request }, { custom_id: 'a', ...request }), /line 2/],
    ['nothing in it', '\n', /holds nothing to ask/],
  ])('with %s is refused, with the line', async (_, content, message) => {
    const failure = expect(readList(newFile(content), ask)).rejects;
    await failure.toMatchObject({ code: 'ERR_LONGVLM_DATASET', message: expect.stringMatching(message) });
  });

  test('without questions is refused', async () => {
    const failure = expect(readList(newFile('a.mp4\n', '.txt'), { ...ask, questions: [] })).rejects;
    await failure.toMatchObject({ message: expect.stringMatching(/line 1: Expected a question for a\.mp4/) });
  });
});

describe('runBatch()', () => {
  test('answers those of one video one after the other, others meanwhile', async () => {
    const working = new Set<string>();
    let most = 0;
    const { asked, runner } = recorder(async (item) => {
      const video = 'video' in item ? item.video : '';
      expect(working).not.toContain(video);
      working.add(video);
      most = Math.max(most, working.size);
      await setTimeout(1);
      working.delete(video);
      return answerTo(item.id);
    });
    const results = await resultsOf(
      questions(9, (i) => `/${i % 3}.mp4`),
      { runner, parallel: 2 },
    );
    expect(results.map(({ id }) => id).sort()).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8']);
    expect(most).toBe(2);
    expect(asked.filter((id) => Number(id) % 3 === 0)).toEqual(['0', '3', '6']);
    expect(asked.indexOf('2')).toBeGreaterThan(4);
  });

  test('merges options of all with those of an item', async () => {
    const given: unknown[] = [];
    const { runner } = recorder((item) => {
      given.push('options' in item && item.options);
      return answerTo(item.id);
    });
    const item = { id: 'a', video: '/a', question: '?' };
    const options = { tokensPerSegment: 4, maxTokens: 9, part: 'local' } as const;
    await resultsOf([item, { ...item, id: 'b', options: { tokens: 40, maxTokens: 2 } }], { runner, options });
    // A budget for the whole video takes the place of one for each segment.
    expect(given).toEqual([options, { tokens: 40, maxTokens: 2, part: 'local' }]);
  });

  test('ends what is in work when the loop is left, or its signal aborts', async () => {
    const ended: string[] = [];
    const runner: BatchRunner = {
      identity: 'a model',
      run: async ({ id }, { signal }) => {
        if (id === '0') return answerTo(id);
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        ended.push(id);
        throw signal.reason;
      },
      dispose: async () => {},
    };
    const output = newFile();
    for await (const { id } of runBatch(questions(4), { runner, output })) {
      expect(id).toBe('0');
      break;
    }
    expect(ended).toEqual(['1', '2']);
    const controller = new AbortController();
    const results = resultsOf(questions(4).slice(1), { runner, signal: controller.signal, output });
    controller.abort(new Error('enough'));
    await expect(results).rejects.toThrow('enough');
    expect(linesOf(output)).toHaveLength(1);
  });

  test('ends with what all items would fail with', async () => {
    const { runner } = recorder(() => Promise.reject(new Error('no ffmpeg')));
    await expect(resultsOf(questions(3), { runner })).rejects.toThrow('no ffmpeg');
  });

  test.each<[string, object, string, RegExp]>([
    ['neither model nor runner', {}, 'TypeError', /LongVLM, or a runner in its place, for vlm but received undefined/],
    ['an option that is none', { options: { frame: 1 } }, 'TypeError', /nothing for options.frame/],
    ['an output that is none', { output: 5 }, 'TypeError', /for output but received 5/],
  ])('refuses %s', async (_, options, name, message) => {
    const { runner } = recorder();
    const given = Object.keys(options).length > 0 ? { runner, ...options } : {};
    const refused = expect(resultsOf(questions(1), given as BatchOptions)).rejects;
    await refused.toMatchObject({ name, message: expect.stringMatching(message) });
  });

  test('refuses two items of one id', async () => {
    const { runner, asked } = recorder();
    const twice = [...questions(2), ...questions(1)];
    await expect(resultsOf(twice, { runner })).rejects.toThrow(/id that no other item has for items\[2\]\.id/);
    expect(asked).toEqual([]);
  });
});

describe('a results file', () => {
  const whole = async (count = 4) => {
    const output = newFile();
    await resultsOf(questions(count), { ...recorder(), output });
    return output;
  };

  test.each([1, 7, 40, 200])('is gone on with when all but %d bytes of a line were cut off', async (bytes) => {
    const output = await whole();
    const lines = readFileSync(output, 'utf8').split('\n');
    writeFileSync(output, `${lines.slice(0, 2).join('\n')}\n${lines[2]!.slice(0, bytes)}`);
    const { asked, runner } = recorder();
    await resultsOf(questions(4), { runner, output });
    expect(asked).toEqual(['2', '3']);
    expect(linesOf(output).map(({ id }) => id)).toEqual(['0', '1', '2', '3']);
  });

  test.each([
    ['a first line that was cut off', (text: string) => text.slice(0, 30), ['0', '1']],
    ['a line without its line break', (text: string) => text.split('\n')[0]!, ['1']],
    ['zeros at its end', (text: string) => `${text.split('\n')[0]}\n${'\0'.repeat(50)}`, ['1']],
    ['nothing in it', () => '', ['0', '1']],
  ])('is gone on with that has %s', async (_, cut, left) => {
    const output = await whole(2);
    writeFileSync(output, cut(readFileSync(output, 'utf8')));
    const { asked, runner } = recorder();
    await resultsOf(questions(2), { runner, output });
    expect(asked).toEqual(left);
    expect(linesOf(output).map(({ id }) => id)).toEqual(['0', '1']);
  });

  test('keeps failures until they are to be asked again', async () => {
    const output = newFile();
    let broken = ['1', '3'];
    const { asked, runner } = recorder(({ id }) => (broken.includes(id) ? failureOf(id) : answerTo(id)));
    const seen: number[] = [];
    const onProgress = ({ failed }: { failed: number }) => void seen.push(failed);
    await resultsOf(questions(4), { runner, output, parallel: 1, onProgress });
    expect(seen).toEqual([0, 0, 1, 1, 2]);
    broken = ['3'];
    expect(await resultsOf(questions(4), { runner, output })).toEqual([]);
    expect(asked).toHaveLength(4);
    expect(await resultsOf(questions(4), { runner, output, retry: true })).toMatchObject([
      { id: '1', answer: 'about 1' },
      { id: '3', error: { code: 'ERR_LONGVLM_VIDEO' } },
    ]);
    const lines = linesOf(output);
    expect(lines.map(({ id }) => id)).toEqual(['0', '2', '1', '3']);
    expect(lines[3]).toMatchObject({ video: '/3.mp4', question: '?', error: { message: 'It is no video.' } });
  });

  test('asks an item anew whose question or options are others, and keeps the rest', async () => {
    const output = await whole(2);
    const { asked, runner } = recorder();
    const [first, second] = questions(2);
    await resultsOf([first!, { ...second!, question: 'Another?' } as BatchItem], { runner, output });
    expect(asked).toEqual(['1']);
    expect(linesOf(output)).toHaveLength(3);
  });

  test('of another model or with other options is an error, unless it is to be replaced', async () => {
    const output = await whole(2);
    const { asked, runner } = recorder();
    const before = readFileSync(output, 'utf8');
    for (const other of [{ runner: { ...runner, identity: 'another' } }, { runner, options: { frames: 4 } }]) {
      const refused = expect(resultsOf(questions(2), { ...other, output })).rejects;
      await refused.toMatchObject({
        code: 'ERR_LONGVLM_MISMATCH',
        message: expect.stringMatching(/another model, or of other options, in line 1.*--force/),
      });
    }
    expect(readFileSync(output, 'utf8')).toBe(before);
    await resultsOf(questions(2), { runner, options: { frames: 4 }, output, force: true });
    expect(asked).toEqual(['0', '1']);
    expect(linesOf(output)).toHaveLength(2);
  });

  test.each([
    ['a list', jsonLines({ video: 'a.mp4' }, { video: 'b.mp4' })],
    ['JSON of somebody without a line break', '{"id": "a"}'],
    ['text of somebody without a line break', 'my notes'],
  ])('is not made of %s', async (_, content) => {
    const output = newFile(content);
    const refused = expect(resultsOf(questions(1), { ...recorder(), output })).rejects;
    await refused.toMatchObject({ code: 'ERR_LONGVLM_DATASET', message: expect.stringContaining('in line 1') });
    expect(readFileSync(output, 'utf8')).toBe(content);
  });

  test('is written to by one batch at a time', async () => {
    const output = newFile();
    const { runner } = recorder();
    for await (const _ of runBatch(questions(2), { runner, output })) {
      const refused = expect(resultsOf(questions(2), { runner, output })).rejects;
      await refused.toMatchObject({
        code: 'ERR_LONGVLM_FILE',
        message: expect.stringMatching(/in use by another batch/),
      });
    }
    expect(linesOf(output)).toHaveLength(2);
    expect(await resultsOf(questions(2), { runner, output })).toEqual([]);
  });
});
