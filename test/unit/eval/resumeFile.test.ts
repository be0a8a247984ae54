import { appendFileSync, existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { ResumeFile } from '../../../dist/eval/resumeFile.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const entry = { video: 'a.mp4', question: 'q', answer: 'a', kind: 'what' };
const entries = [entry, { ...entry, question2: 'q2' }, entry];
const run = { dataset: 'd', model: 'm', settings: 's' };

let folder: string;
beforeAll(async () => {
  folder = await temporaryFolder();
});

let made = 0;
const newName = () => path.join(folder, `${made++}.unfinished.jsonl`);

/** What a file holds for a run that goes on from it. */
async function answersIn(file: string): Promise<[number, readonly string[]][]> {
  const resumed = await ResumeFile.open(file, run, entries);
  await resumed.close();
  return [...resumed.answers];
}

async function written(...answers: [number, string[]][]): Promise<string> {
  const file = newName();
  const resumed = await ResumeFile.open(file, run, entries);
  for (const [index, texts] of answers) await resumed.append(index, texts);
  await resumed.close();
  return file;
}

describe('ResumeFile', () => {
  test('gives back what was appended, over several runs', async () => {
    const file = newName();
    expect(await answersIn(file)).toEqual([]);
    let resumed = await ResumeFile.open(file, run, entries);
    await resumed.append(2, ['a\nb "é"']);
    expect(readFileSync(file, 'utf8').split('\n'), 'at once').toHaveLength(3);
    await resumed.close();
    resumed = await ResumeFile.open(file, run, entries);
    await resumed.append(1, ['x', '']);
    await resumed.close();
    expect(await answersIn(file)).toEqual([
      [2, ['a\nb "é"']],
      [1, ['x', '']],
    ]);
  });

  test('drops a last line that was cut anywhere, and goes on behind what is whole', async () => {
    const whole = readFileSync(await written([0, ['first']], [2, ['é']]));
    const end = whole.lastIndexOf('\n', -2) + 1;
    for (let length = end; length < whole.length; length++) {
      const file = newName();
      writeFileSync(file, whole.subarray(0, length));
      const resumed = await ResumeFile.open(file, run, entries);
      expect([...resumed.answers]).toEqual([[0, ['first']]]);
      await resumed.append(2, ['again']);
      await resumed.close();
      expect(await answersIn(file)).toEqual([
        [0, ['first']],
        [2, ['again']],
      ]);
    }
  });

  test('starts again where even the first line was cut', async () => {
    const file = await written();
    truncateSync(file, 20);
    expect(await answersIn(file)).toEqual([]);
    expect(readFileSync(file, 'utf8')).toBe(readFileSync(await written(), 'utf8'));
  });

  test.each([
    [{ dataset: 'other' }, /with another data set\. Delete it .* or choose another output/],
    [{ model: 'other' }, /with another model\. /],
    [{ settings: 'other', dataset: 'other' }, /with another data set, other settings\. /],
  ])('refuses the answers of a run with %j, and leaves them alone', async (change, message) => {
    const file = await written([0, ['first']]);
    const before = readFileSync(file);
    await expect(ResumeFile.open(file, { ...run, ...change }, entries)).rejects.toMatchObject({
      name: 'LongVLMError',
      code: 'ERR_LONGVLM_MISMATCH',
      message: expect.stringMatching(message),
    });
    expect(readFileSync(file)).toEqual(before);
  });

  test.each([
    ['a line that is no JSON', '{"entry":0,\n{"entry":1,"answers":["x","y"]}\n', /damaged in line 3/],
    ['an entry that is not there', '{"entry":3,"answers":["x"]}\n', /line 3 \(.*between 0 and 2 for entry/],
    ['one answer where two are due', '{"entry":1,"answers":["x"]}\n', /line 3 \(Expected 2 for answers\.length/],
    ['an entry without answers', '{"entry":0}\n', /Expected array for answers but received undefined/],
    ['answers that are no text', '{"entry":0,"answers":[5]}\n', /Expected string for answers\[0\] but received 5/],
  ])('refuses %s', async (_, text, message) => {
    const file = await written([0, ['first']]);
    appendFileSync(file, text);
    await expect(ResumeFile.open(file, run, entries)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_DATASET',
      message: expect.stringMatching(message),
    });
  });

  test('says what is wrong with the first line', async () => {
    const file = newName();
    writeFileSync(file, `${JSON.stringify({ format: 'longvlm.evaluation', version: 2, ...run })}\n`);
    await expect(ResumeFile.open(file, run, entries)).rejects.toThrow(
      /is no evaluation that was left unfinished \(Expected 1 for version but received 2 of type number\)\. Delete it/,
    );
  });

  test.each(['notes of mine', 'notes of mine\nand more\n', '{"format":"other"}\n', 'null\n'])(
    'does not touch a file of something else: %j',
    async (text) => {
      const file = newName();
      writeFileSync(file, text);
      await expect(ResumeFile.open(file, run, entries)).rejects.toMatchObject({ code: 'ERR_LONGVLM_DATASET' });
      expect(readFileSync(file, 'utf8')).toBe(text);
    },
  );

  test('says when it cannot be written', async () => {
    const file = path.join(folder, 'no', 'such.unfinished.jsonl');
    await expect(ResumeFile.open(file, run, entries)).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
    expect(existsSync(path.dirname(file))).toBe(false);
  });
});
