import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { watch } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LongVLM, VideoFeatures } from '../../dist/index.js';
import { longvlm, start } from '../fixtures/commandLine.js';
import { pico, picoOptions } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';
import { make } from '../unit/video/videoFiles.js';

const { frames, segmentFrames, tokensPerSegment } = picoOptions;
const models = ['--vision', pico.clip, '--projector', pico.projector, '--llm', pico.llm, '--device', 'cpu'];
const sampling = ['--frames', frames, '--segment-frames', segmentFrames, '--merge-tokens', tokensPerSegment].map(
  String,
);
const flags = [...models, ...sampling, '--threads', '1', '--max-tokens', '6'];
const greedy = { temperature: 0, maxTokens: 6 };

let folder: string;
let vlm: LongVLM;
let features: VideoFeatures;
const inFolder = (name: string) => path.join(folder, name);
const evaluated = (file: string, ...more: string[]) => longvlm('eval', inFolder(file), ...flags, ...more);

async function answer(question: string, options = {}): Promise<string> {
  return (await vlm.ask(features, question, { ...greedy, ...options })).text.trim();
}

function writeLines(file: string, lines: readonly object[]): void {
  writeFileSync(inFolder(file), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
}

beforeAll(async () => {
  folder = await temporaryFolder();
  vlm = await LongVLM.load(picoOptions);
  features = await vlm.encode(pico.video);
  copyFileSync(pico.video, inFolder('v_1.mp4'));
  copyFileSync(pico.video, inFolder('v_2.mp4'));
  writeLines('questions.jsonl', [
    { video: 'v_1.mp4', question: 'what?', answer: await answer('what?'), kind: 'what' },
    { video: 'v_2.mp4', question: 'and then?', answer: 'never', kind: 'after' },
    { video: 'v_2.mp4', question: 'why?', question2: 'why so?', answer: await answer('why?') },
  ]);
});
afterAll(() => vlm.dispose());

describe('longvlm eval', () => {
  test('prints a table', async () => {
    const { code, stdout, stderr } = await evaluated('questions.jsonl');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toBe(
      ['kind     questions  score', 'what             1  1.000', 'after            1  0.000']
        .concat(['other            1  0.500', 'overall          3  0.500', ''])
        .join('\n'),
    );
  });

  test('warns of a video that is cut short, and evaluates what is there', async () => {
    const whole = readFileSync(make('whole.mkv', '-i', pico.video, '-c', 'copy'));
    writeFileSync(inFolder('cut.mkv'), whole.subarray(0, whole.length / 2));
    writeLines('cut.jsonl', [{ video: 'cut.mkv', question: 'what?', answer: 'never' }]);
    const { code, stdout, stderr } = await evaluated('cut.jsonl');
    expect(code).toBe(0);
    expect(stdout).toContain('overall          1');
    expect(stderr).toMatch(/^warning: '.*cut\.mkv' is damaged or cut short.*\n$/);
  });

  test("writes Video-ChatGPT's JSON, prints one object with --json, and leaves nothing else", async () => {
    mkdirSync(inFolder('out'));
    const output = inFolder('out/predictions.json');
    const { code, stdout } = await evaluated('questions.jsonl', '-o', output, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      dataset: inFolder('questions.jsonl'),
      videos: 2,
      kinds: [
        { kind: 'what', questions: 1, score: 1 },
        { kind: 'after', questions: 1, score: 0 },
        { kind: 'other', questions: 1, score: 0.5 },
      ],
      overall: { questions: 3, score: 0.5 },
      output,
      timings: { load: expect.any(Number), evaluate: expect.any(Number) },
    });
    const [what, then, why] = [await answer('what?'), await answer('and then?'), await answer('why?')];
    expect(JSON.parse(readFileSync(output, 'utf8'))).toEqual([
      { video_name: 'v_1', Q: 'what?', A: what, pred: what, kind: 'what', score: 1 },
      { video_name: 'v_2', Q: 'and then?', A: 'never', pred: then, kind: 'after', score: 0 },
      {
        video_name: 'v_2',
        Q1: 'why?',
        Q2: 'why so?',
        A: why,
        pred1: why,
        pred2: await answer('why so?'),
        kind: 'other',
        score: 0.5,
      },
    ]);
    expect(readdirSync(inFolder('out'))).toEqual(['predictions.json']);
  });

  test('ends with code 1 when the score is below --min-score, after the table', async () => {
    const below = await evaluated('questions.jsonl', '--min-score', '0.51');
    expect(below).toMatchObject({ code: 1, stderr: 'longvlm: the overall score 0.5 is below --min-score 0.51\n' });
    expect(below.stdout).toMatch(/^overall .*0\.500$/m);
    expect((await evaluated('questions.jsonl', '--min-score', '0.5', '--limit', '2')).code).toBe(0);
  });

  test('ends with code 1 when any kind scores below --min-kind-score, and names it', async () => {
    expect(await evaluated('questions.jsonl', '--min-kind-score', '0.5')).toMatchObject({
      code: 1,
      stderr: 'longvlm: the score of after 0 is below --min-kind-score 0.5\n',
    });
    expect((await evaluated('questions.jsonl', '--min-kind-score', '0.5', '--limit', '1')).code).toBe(0);
  });

  test('takes the first videos with --limit, which alone must be there', async () => {
    const lines = readFileSync(inFolder('questions.jsonl'), 'utf8');
    writeFileSync(inFolder('more.jsonl'), lines.replaceAll('v_2.mp4', 'v_3.mp4'));
    const { stdout } = await evaluated('more.jsonl', '--limit', '1', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ videos: 1, overall: { questions: 1, score: 1 } });
    expect(await evaluated('more.jsonl')).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^longvlm: 1 of the 2 videos in .*more\.jsonl cannot be found: .*v_3\.mp4\. .*\n$/),
    });
  });

  test('--tokens and --reduction reach the model', async () => {
    const kept = inFolder('pooled');
    const output = inFolder('pooled.json');
    const ablated = ['--reduction', 'pool', '--tokens', 'local', '--features', kept, '-o', output];
    expect((await evaluated('questions.jsonl', ...ablated)).code).toBe(0);
    const pooling = await LongVLM.load({ ...picoOptions, reduction: 'pool' });
    try {
      const pooled = await pooling.encode(pico.video);
      const [name] = readdirSync(kept);
      expect((await VideoFeatures.load(path.join(kept, name!))).local).toEqual(pooled.local);
      const wanted = (await pooling.ask(pooled, 'and then?', { ...greedy, part: 'local' })).text.trim();
      expect(JSON.parse(readFileSync(output, 'utf8'))[1].pred).toBe(wanted);
      expect(wanted).not.toBe(await answer('and then?'));
    } finally {
      await pooling.dispose();
    }
  });

  test('goes on after an interruption, and refuses to with other settings', async () => {
    const output = inFolder('long.json');
    const unfinished = `${output}.unfinished.jsonl`;
    // Questions enough that the interruption comes in the middle.
    const count = 400;
    writeLines(
      'long.jsonl',
      Array.from({ length: count }, (_, i) => ({ video: 'v_1.mp4', question: `what about ${i}?`, answer: 'x' })),
    );
    const { child, result } = start(['eval', inFolder('long.jsonl'), ...flags, '-o', output]);
    const answered = () => (existsSync(unfinished) ? readFileSync(unfinished, 'utf8').split('\n').length - 2 : 0);
    for await (const _ of watch(folder)) if (answered() >= 5) break;
    child.kill('SIGINT');
    expect(await result).toEqual({ code: 130, stdout: '', stderr: '' });
    expect(answered()).toBeLessThan(count);
    expect(existsSync(output)).toBe(false);
    expect(await evaluated('long.jsonl', '-o', output, '--part', 'global')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /^longvlm: .*long\.json\.unfinished\.jsonl was left by .* other settings\. Delete it .*\n$/,
      ),
    });
    const before = readFileSync(unfinished, 'utf8').split('\n')[3]!;
    writeFileSync(unfinished, readFileSync(unfinished, 'utf8').replace(before, before.replace(/\[.*\]/, '["X."]')));
    const { stdout } = await evaluated('long.jsonl', '-o', output, '--json');
    expect(JSON.parse(stdout).overall).toEqual({ questions: count, score: 1 / count });
    expect(JSON.parse(readFileSync(output, 'utf8'))).toHaveLength(count);
    expect(existsSync(unfinished)).toBe(false);
  });

  test.each([
    ['a data set that is missing', ['none.jsonl'], 1, /none\.jsonl does not exist/],
    ['an output that is no JSON', ['questions.jsonl', '-o', 'video.mp4'], 2, /name that ends in \.json for --output/],
    ['a folder that is not there', ['questions.jsonl', '-o', '/no/where.json'], 1, /Cannot write into \/no: /],
    ['a score that is none', ['questions.jsonl', '--min-score', '2'], 2, /Give a number from 0 to 1/],
    [
      'another reduction',
      ['questions.jsonl', '--reduction', 'drop'],
      2,
      /Allowed choices are merge, pick, pool, subsample/,
    ],
  ])('refuses %s', async (_, [file, ...more], code, message) => {
    const result = await evaluated(file!, ...more);
    expect(result).toMatchObject({ code, stdout: '', stderr: expect.stringMatching(message) });
  });

  test('says in its help that it is greedy', async () => {
    const help = (await longvlm('eval', '--help')).stdout.replace(/\s+/g, ' ');
    expect(help).toContain('0 always takes the likeliest token (default: 0)');
  });
});
