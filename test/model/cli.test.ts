import { type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, createReadStream, existsSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { setImmediate } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { VideoFeatures } from '../../dist/index.js';
import { longvlm, main, start } from '../fixtures/commandLine.js';
import { pico } from '../fixtures/index.js';
import { children, exists } from '../fixtures/processes.js';

const folder = mkdtempSync(path.join(tmpdir(), 'longvlm-cli-'));
const inFolder = (name: string) => path.join(folder, name);
afterAll(() => rmSync(folder, { recursive: true }));

const sampling = ['--frames', '20', '--segment-frames', '5', '--merge-tokens', '6', '--threads', '1'];
const vision = ['--vision', pico.clip, ...sampling];
const language = ['--projector', pico.projector, '--llm', pico.llm, '--device', 'cpu'];
const controls = /(?![\n\t])\p{Cc}/gu;
const greedy = ['--temperature', '0', '--max-tokens', '16'];
const { question } = pico.expected.prompt;

/** The program that gives another one a terminal. */
const terminal =
  process.platform === 'linux' ? ['/usr/bin/script', '/bin/script'].find((each) => existsSync(each)) : undefined;

/** What a command shows on a terminal, with line breaks as it writes them. */
async function onTerminal(args: readonly string[]): Promise<string> {
  const command = [process.execPath, main, ...args].map((each) => `'${each}'`).join(' ');
  const child = spawn(terminal!, ['-qec', `${command} 2>/dev/null`, '/dev/null'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return (await text(child.stdout)).replaceAll('\r\n', '\n');
}

describe('longvlm ask', () => {
  test('answers about a real file: text on stdout, what was used on stderr', async () => {
    const { code, stdout, stderr } = await longvlm('ask', pico.video, question, ...vision, ...language, ...greedy);
    expect(code).toBe(0);
    expect(stdout).toContain('second hapood');
    expect(stderr).toMatch(/^20 frames of 20\.2 s in 4 segments, 29 tokens; [\d.]+ s for the answer\n$/);
  });

  test('prints one JSON object with --json', async () => {
    const args = ['ask', pico.video, question, ...vision, ...language, ...greedy, '--json'];
    const { code, stdout, stderr } = await longvlm(...args);
    expect(code).toBe(0);
    expect(stderr).toBe('');
    const report = JSON.parse(stdout);
    expect(report.tokenIds).toEqual(pico.expected.greedy_linear);
    expect(report).toMatchObject({
      answer: expect.stringContaining('second hapood'),
      stopReason: 'maxTokens',
      video: { frames: 20, segments: 4, tokens: 29, duration: expect.closeTo(20.16, 1) },
    });
    for (const stage of ['load', 'encode', 'firstToken', 'answer', 'total'])
      expect(report.timings[stage]).toBeGreaterThanOrEqual(0);
    expect(report.timings.total).toBeGreaterThanOrEqual(report.timings.encode);
  });

  test('takes a budget of tokens, and tells the times of the video', async () => {
    const own = ['--vision', pico.clip, '--frames', '20', '--segment-frames', '5', '--threads', '1', '--tokens', '50'];
    const args = ['ask', pico.video, question, ...own, ...language, '--max-tokens', '1', '--json', '--timestamps'];
    const { stdout } = await longvlm(...args);
    const { video } = JSON.parse(stdout);
    expect(video.tokens).toBe(5 + 4 * 11);
    expect(video.runs).toHaveLength(5);
    expect(video.runs[1]).toEqual({ kind: 'segment', start: 0.48, end: 5.52, tokens: 11 });
    const old = ['ask', pico.video, question, ...vision, ...language, '--max-tokens', '1', '--tokens', 'local'];
    expect((await longvlm(...old)).stderr).toMatch(/^note: --tokens local is called --part local now\n.* 24 tokens;/);
  });

  test.skipIf(terminal === undefined)('shows no control character of an answer to a terminal', async () => {
    const wild = ['--temperature', '5', '--top-k', '0', '--top-p', '1', '--seed', '3', '--max-tokens', '200'];
    const args = ['ask', pico.video, question, ...vision, ...language, ...wild];
    const { stdout } = await longvlm(...args);
    expect(stdout.match(controls)?.length).toBeGreaterThan(5);
    const shown = await onTerminal(args);
    expect(shown).toBe(stdout.replace(controls, (each) => `\\x${Buffer.from(each, 'latin1').toString('hex')}`));
    const json = await onTerminal([...args, '--json']);
    expect(json).not.toMatch(controls);
    expect(`${JSON.parse(json).answer}\n`).toBe(stdout);
  });

  test('reads a features file and takes model paths from the environment', async () => {
    // JSON.stringify() leaves these two as they are.
    const file = inFolder('f\x7f\x9b.safetensors');
    const encoded = await longvlm('encode', pico.video, '-o', file, ...vision, '--json');
    expect(encoded.stdout).not.toMatch(controls);
    expect(JSON.parse(encoded.stdout)).toMatchObject({ output: file, video: { frames: 20, tokens: 29 } });
    const loaded = await VideoFeatures.load(file);
    expect(loaded.sampling.frames).toBe(20);
    const env = { LONGVLM_VISION: pico.clip, LONGVLM_PROJECTOR: pico.projector, LONGVLM_LLM: pico.llm };
    const args = ['ask', file, question, ...sampling, ...greedy, '--device', 'cpu', '--json'];
    const { stdout } = await start(args, env).result;
    expect(JSON.parse(stdout).tokenIds).toEqual(pico.expected.greedy_linear);
  });

  test.each([
    ['a missing video', ['ask', 'none.mp4', 'q'], /^longvlm: .*none\.mp4.*\n$/],
    ['a file that is no video', ['ask', pico.llm, 'q'], /^longvlm: .*llm\.gguf.*\n$/],
    [
      'a language model that is none',
      ['ask', pico.video, 'q', '--llm', pico.projector],
      /^longvlm: .*projector\.safetensors: not a GGUF file.*\n$/,
    ],
    ['a features file that is none', ['ask', pico.projector, 'q'], /^longvlm: .*holds no video features.*\n$/],
    [
      'a prompt that does not fit',
      ['ask', pico.video, 'word '.repeat(3000)],
      /^longvlm: .*not fit into .*context of 1024.*\n$/,
    ],
  ])('ends with one line and code 1 for %s', async (_, args, message) => {
    const { code, stdout, stderr } = await longvlm(...['ask', ...vision, ...language], ...args.slice(1));
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  });

  test.each([
    ['no question', ['ask', pico.video, ...vision, ...language], /missing required argument 'question'/],
    ['no tower', ['ask', pico.video, 'q', ...language], /Expected vision beside projector and llm .* name all three/],
    [
      'a tower alone',
      ['ask', pico.video, 'q', ...vision],
      /Expected --projector and --llm: name them, and --vision unless/,
    ],
    ['an unknown flag', ['ask', pico.video, 'q', ...vision, ...language, '--fast'], /unknown option '--fast'/],
    ['a number that is none', ['ask', pico.video, 'q', '--frames', 'many'], /'many' is invalid.* positive integer/],
    ['an unknown command', ['answer'], /unknown command 'answer'/],
    [
      'frames that are no whole segments',
      ['ask', pico.video, 'q', ...vision, ...language, '--frames', '21'],
      /multiple of segmentFrames \(5\) for frames but received 21/,
    ],
  ])('ends with code 2 for %s', async (_, args, message) => {
    const { code, stdout, stderr } = await longvlm(...args);
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });
});

describe('longvlm chat', () => {
  test('answers a line at a time from a pipe', async () => {
    const { child, result } = start(['chat', pico.video, ...vision, ...language, ...greedy, '--json']);
    child.stdin!.end(`${question}\n\nand then?\n`);
    const { code, stdout } = await result;
    const answers = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(code).toBe(0);
    expect(answers.map((each) => each.question)).toEqual([question, 'and then?']);
    expect(answers[0].tokenIds).toEqual(pico.expected.greedy_linear);
    expect(answers[1].answer).not.toBe(answers[0].answer);
  });
});

describe('longvlm encode', () => {
  test('says what it wrote', async () => {
    const file = inFolder('half.safetensors');
    const { code, stdout, stderr } = await longvlm('encode', pico.video, '-o', file, ...vision, '--type', 'float16');
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
    expect(stderr).toBe(`20 frames of 20.2 s in 4 segments, 29 tokens -> ${file}\n`);
    expect((await VideoFeatures.load(file)).local.dims).toEqual([4, 6, 64]);
  });

  test('takes the models that ask takes, of which the tower is enough', async () => {
    const file = inFolder('mmproj.safetensors');
    const models = ['--projector', pico.mmproj, '--llm', 'not-there.gguf', '--gpu', 'off'];
    const { code, stderr } = await longvlm('encode', pico.video, '-o', file, ...models, ...sampling, '--no-cache');
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('29 tokens') });
    expect((await VideoFeatures.load(file)).local.dims).toEqual([4, 6, 64]);
  });

  test('takes a part of a video at a rate, from a URL, without global tokens', async () => {
    const server = createServer((_, response) => createReadStream(pico.video).pipe(response));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/talk.mp4?key=secret`;
      const file = inFolder('part.safetensors');
      const range = ['--start', '0:05', '--end', '15', '--fps', '2', '--segment-frames', '5', '--global-layers', '0'];
      const own = ['--vision', pico.clip, '--merge-tokens', '6', '--threads', '1', '--no-cache'];
      const { code, stdout, stderr } = await longvlm('encode', url, '-o', file, ...range, ...own, '--json');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const video = { frames: 20, fps: 2, start: 5, end: 15, segments: 4, tokens: 24 };
      expect(JSON.parse(stdout).video).toMatchObject(video);
      const { source, timestamps } = await VideoFeatures.load(file);
      expect(source.name).toBe('talk.mp4');
      expect(timestamps.every((time) => time >= 5 && time < 15)).toBe(true);
    } finally {
      server.close();
    }
  });

  test.each([
    [['--fps', '1', '--frames', '20'], /'--frames <n>' cannot be used with option '--fps <n>'/],
    [['--llm', 'alone.gguf'], /Expected vision beside projector and llm/],
    [['--start', 'later'], /'later' is invalid.*Give seconds/],
    [['--start', '10:99'], /'10:99' is invalid.*Give seconds/],
    [['--start', '9', '--end', '3'], /number above start \(9\) for end but received 3/],
    [['--start', '1:00'], /video lasts 20\.16 s/],
  ])('refuses %j', async (flags, message) => {
    const tower = flags.includes('--llm') ? [] : ['--vision', pico.clip];
    const args = ['encode', pico.video, '-o', inFolder('none.safetensors'), ...tower, '--no-cache', ...flags];
    const { code, stderr } = await longvlm(...args);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
    expect(existsSync(inFolder('none.safetensors'))).toBe(false);
  });

  test('finds out that it cannot write before it encodes', async () => {
    const missing = await longvlm('encode', 'none.mp4', '-o', inFolder('no/f.safetensors'), ...vision);
    expect(missing).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^longvlm: Cannot write into .*no: .*\n$/),
    });
    const video = await longvlm('encode', pico.video, '-o', pico.video, ...vision);
    expect(video).toMatchObject({ code: 2, stderr: expect.stringContaining('name that ends in .safetensors') });
  });

  test('says when a video has fewer frames than are sampled', async () => {
    const file = inFolder('many.safetensors');
    const more = vision.map((arg) => (arg === '20' ? '300' : arg));
    const { stderr } = await longvlm('encode', pico.video, '-o', file, ...more);
    expect(stderr).toContain('300 frames (the video has only 252) of 20.2 s in 60 segments');
  });

  test('leaves no file and no process behind when it is interrupted', async () => {
    const file = inFolder('never.safetensors');
    // Enough frames that the interruption comes in the middle.
    const many = vision.map((arg) => (arg === '20' ? '20000' : arg));
    const { child, result } = start(['encode', pico.video, '-o', file, ...many, '--no-cache']);
    // It decodes once it has an ffmpeg; the two that read the file's structure end by themselves before.
    const started = new Set<number>();
    while (started.size < 3) {
      for (const id of children(child.pid!)) started.add(id);
      await setImmediate();
    }
    child.kill('SIGINT');
    const { code, stderr } = await result;
    expect([child.pid!, ...started].filter(exists)).toEqual([]);
    expect({ code, stderr }).toEqual({ code: 130, stderr: '' });
    expect(existsSync(file)).toBe(false);
    expect(readdirSync(folder).filter((name) => name.startsWith('never'))).toEqual([]);
  });
});

describe('longvlm info', () => {
  test('tells what is installed, what the models are and what is in a video', async () => {
    const models = ['--vision', pico.clip, '--projector', pico.projector, '--llm', pico.llm];
    const { code, stdout } = await longvlm('info', pico.video, ...models, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      longvlm: { onnxruntime: expect.stringMatching(/^\d/), 'node-llama-cpp': expect.stringMatching(/^\d/) },
      video: { frameCount: 252, width: 128, height: 96, codec: 'h264' },
      vision: { channels: 64, layers: 6, patches: 16 },
      projector: { kind: 'linear', outChannels: 64 },
      llm: { width: 64, name: 'pico' },
    });
  });

  test('reports a missing program without failing', async () => {
    const { code, stdout } = await start(['info', '--ffmpeg', inFolder('no-ffmpeg')]).result;
    expect(code).toBe(0);
    expect(stdout).toMatch(/ffmpeg +.*no-ffmpeg/);
  });
});

describe('a stream that cannot be written', () => {
  /** Runs `longvlm` with one, and gives what comes to the other. */
  async function without(stream: 'stdout' | 'stderr', ...args: string[]): Promise<{ code: unknown; output: string }> {
    const file = openSync(main, 'r');
    const stdio = stream === 'stdout' ? ['ignore', file, 'pipe'] : ['ignore', 'pipe', file];
    const child = spawn(process.execPath, [main, ...args], { stdio: stdio as StdioOptions });
    const output = text(child[stream === 'stdout' ? 'stderr' : 'stdout']!);
    const [code] = await once(child, 'close');
    closeSync(file);
    return { code, output: await output };
  }

  test('is named where it is for the answer', async () => {
    const { code, output } = await without('stdout', 'info');
    expect(code).toBe(1);
    expect(output).toMatch(/^longvlm: Standard output cannot be written: .+\. Check what it was redirected to\.\n$/);
  });

  test('costs no answer where it is for what is told beside it', async () => {
    const whole = [...vision, ...language, ...greedy, '--no-cache'];
    const { code, output } = await without('stderr', 'ask', pico.video, question, ...whole);
    expect(code).toBe(0);
    expect(output).not.toBe('');
  });
});

describe('longvlm', () => {
  test('shows its help and version', async () => {
    const help = await longvlm('--help');
    expect(help).toMatchObject({ code: 0, stderr: '' });
    for (const command of ['ask', 'chat', 'encode', 'eval', 'info']) expect(help.stdout).toContain(`  ${command} `);
    expect((await longvlm('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect((await longvlm('ask', '--help')).stdout).toContain('--merge-tokens <n>');
  });
});
