import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { readDataset } from '../../../dist/index.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

let folder: string;
beforeAll(async () => {
  folder = await temporaryFolder();
  mkdirSync(path.join(folder, 'videos'));
  // Only that they are there counts here.
  for (const name of ['a.mp4', 'b.mp4', 'videos/c.mp4']) writeFileSync(path.join(folder, name), 'video');
});

let made = 0;
function written(content: string | Uint8Array): string {
  const file = path.join(folder, `${made++}.jsonl`);
  writeFileSync(file, content);
  return file;
}

const line = (change: object = {}) => JSON.stringify({ video: 'a.mp4', question: 'q', answer: 'a', ...change });
const lines = (...changes: object[]) => changes.map(line).join('\n');

describe('readDataset()', () => {
  test('gives the entries with the paths of their videos', async () => {
    const file = written(
      `\ufeff${line({ kind: 'what' })}\r\n\n${line({ video: 'videos/c.mp4', question2: 'q2', extra: 1 })}\n  \n`,
    );
    expect(await readDataset(path.relative('.', file))).toEqual({
      entries: [
        { video: path.join(folder, 'a.mp4'), question: 'q', answer: 'a', kind: 'what' },
        { video: path.join(folder, 'videos/c.mp4'), question: 'q', question2: 'q2', answer: 'a', kind: 'other' },
      ],
    });
  });

  test('keeps all questions about the first videos, wherever they stand', async () => {
    const [a, b, c] = ['a.mp4', 'b.mp4', 'videos/c.mp4'].map((video) => ({ video }));
    const file = written(lines(b!, a!, b!, c!, a!));
    const names = async (videos: number) =>
      (await readDataset(file, { videos })).entries.map(({ video }) => path.parse(video).name).join('');
    expect([await names(1), await names(2), await names(9)]).toEqual(['bb', 'baba', 'babca']);
  });

  test.each([
    ['no JSON', `${line()}\n{"video": "a.mp4",\n`, /\.jsonl, line 2: .*JSON/],
    ['no object', `${line()}\n\n"text"`, /\.jsonl, line 3: Expected object for the line/],
    ['null', 'null', /line 1: Expected object for the line but received null/],
    ['no video', line({ video: undefined }), /line 1: Expected non-empty string for video but received undefined/],
    ['an empty question', line({ question: '' }), /line 1: Expected non-empty string for question but received ''/],
    ['an answer that is a number', lines({}, { answer: 5 }), /line 2: Expected non-empty string for answer .* 5/],
    ['a kind that is a list', line({ kind: ['what'] }), /line 1: Expected non-empty string for kind/],
    ['an empty second question', line({ question2: '' }), /line 1: Expected non-empty string for question2/],
    ['nothing', ' \n\n', /holds no questions/],
    ['another encoding', Buffer.from(line({ question: 'é' }), 'latin1'), /no UTF-8 text/],
  ])('refuses %s, and says where', async (_, content, message) => {
    await expect(readDataset(written(content))).rejects.toMatchObject({
      name: 'LongVLMError',
      code: 'ERR_LONGVLM_DATASET',
      message: expect.stringMatching(message),
    });
  });

  test('names all missing videos at once, and only those that are asked for', async () => {
    const file = written(
      lines({}, { video: 'no1.mp4' }, { video: 'b.mp4' }, { video: 'no2.mp4' }, { video: 'videos' }),
    );
    await expect(readDataset(file)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
      message: expect.stringMatching(/^3 of the 5 videos in .*no1\.mp4, .*no2\.mp4, .*videos\. Put them there/),
    });
    expect((await readDataset(file, { videos: 1 })).entries).toHaveLength(1);
    const many = written(lines(...Array.from({ length: 25 }, (_, index) => ({ video: `no${index}.mp4` }))));
    await expect(readDataset(many)).rejects.toThrow(/no19\.mp4 and 5 more\. /);
  });

  test('refuses a file that is not there, and wrong options', async () => {
    await expect(readDataset(path.join(folder, 'none.jsonl'))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
      message: expect.stringMatching(/none\.jsonl does not exist/),
    });
    const file = written(line());
    await expect(readDataset(file, { videos: 0 })).rejects.toThrow(/positive integer for videos/);
    await expect(readDataset('')).rejects.toThrow(RangeError);
    const reason = new Error('no');
    await expect(readDataset(file, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});
