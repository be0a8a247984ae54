// The page of the service with nano, in a real browser: one for all of it.
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import axe from 'axe-core';
import { type Browser, chromium, type Page, type Request, type Response } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { FeaturesCache, LongVLM } from '../../dist/index.js';
import { splitTimes } from '../../dist/page/times.js';
import { type Service, startService } from '../../dist/service/service.js';
import { chromiumPath } from '../fixtures/chromium.js';
import { ffmpeg } from '../unit/video/videoFiles.js';

const world = fileURLToPath(new URL('../fixtures/world/', import.meta.url));
const video = path.join(world, 'world-2000000.mp4');
const temporary = mkdtempSync(path.join(tmpdir(), 'longvlm-page-'));
/** While there is a file of this name, ffmpeg never ends. */
const stuck = path.join(temporary, 'stuck');
let vlm: LongVLM;
let service: Service;

beforeAll(async () => {
  const wrapper = path.join(temporary, 'ffmpeg');
  writeFileSync(
    wrapper,
    `#!/bin/sh\ncase "$*" in *-version*) exec "${ffmpeg.path}" "$@" ;; esac\n` +
      `[ -e "${stuck}" ] && exec "${ffmpeg.path}" -nostdin -v quiet -re -f lavfi -i anullsrc -f null -\n` +
      `exec "${ffmpeg.path}" "$@"\n`,
  );
  chmodSync(wrapper, 0o755);
  const cache = await FeaturesCache.open(path.join(temporary, 'features'));
  vlm = await LongVLM.load({ threads: 1, gpu: 'off', cache, ffmpeg: wrapper });
  service = await startService(vlm, { port: 0, limits: { maxBytes: 40 << 20 } });
});
afterAll(async () => {
  await service.close();
  await vlm.dispose();
  rmSync(temporary, { recursive: true });
});

describe('the files of the page', () => {
  /** A request whose path is sent as it is. */
  function ask(url: string, path: string, headers: Record<string, string> = {}) {
    return new Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; body: string }>((resolve, reject) => {
      const { hostname, port } = new URL(url);
      httpRequest({ hostname, port, path, headers }, async (response) =>
        resolve({ status: response.statusCode!, headers: response.headers, body: await text(response) }),
      )
        .on('error', reject)
        .end();
    });
  }

  test('come with a policy that lets nothing in, and are not sent twice', async () => {
    const { status, headers, body } = await ask(service.url, '/');
    expect([status, headers['content-type']]).toEqual([200, 'text/html; charset=utf-8']);
    const policy = String(headers['content-security-policy']).split('; ');
    expect(policy).toEqual(expect.arrayContaining(["default-src 'none'", "script-src 'self'", "connect-src 'self'"]));
    expect(policy.join()).not.toMatch(/unsafe|\*|http/);
    expect(body).not.toMatch(/(?:src|href)="(?!\/page\/|#)|<script(?! type="module" src=)|<style| style=| on\w+=/);
    const known = await ask(service.url, '/', { 'if-none-match': `"other", W/${headers.etag}` });
    expect([known.status, known.body]).toEqual([304, '']);
  });

  test.each([
    '/page/../../package.json',
    '/page/..%2f..%2fpackage.json',
    '/page/%2e%2e/index.js',
    '/page/tsconfig.json',
    '/page/',
    '/page/__proto__',
    '/inspect/inspectVideo.js',
    '/inspect/../index.js',
  ])('are all that there is: not %s', async (path) => {
    expect((await ask(service.url, path)).status).toBe(404);
  });

  test('are not there without a page, nor for pages of other sites', async () => {
    expect((await ask(service.url, '/', { origin: 'https://evil.example' })).status).toBe(403);
    const bare = await startService(vlm, { port: 0, page: false });
    try {
      expect((await ask(bare.url, '/')).status).toBe(404);
    } finally {
      await bare.close();
    }
  });
});

test('a stream tells how far the video is, to who wants to know', async () => {
  const bytes = readFileSync(video, 'base64');
  const content = [
    { type: 'video_url', video_url: { url: `data:video/mp4;base64,${bytes}` } },
    { type: 'text', text: 'What happens last?' },
  ];
  const request = { messages: [{ role: 'user', content }], stream: true, longvlm: { frames: 10 } };
  const chunksOf = async (more: object) => {
    const headers = { 'content-type': 'application/json' };
    const init = { method: 'POST', headers, body: JSON.stringify({ ...request, ...more }) };
    const body = await (await fetch(`${service.url}/v1/chat/completions`, init)).text();
    return [...body.matchAll(/^data: (\{.*)$/gm)].map(([, json]) => JSON.parse(json!));
  };
  const chunks = await chunksOf({ stream_options: { include_progress: true } });
  const said = chunks.findIndex(({ choices }) => choices[0]?.delta.content);
  const told = chunks.slice(1, said).map(({ choices, longvlm }) => [choices, longvlm.progress]);
  expect(told.length).toBeGreaterThan(2);
  expect(told.at(-1)).toEqual([[], { stage: 'encode', done: 10, total: 10, unit: 'frames' }]);
  expect((await chunksOf({})).filter(({ longvlm }) => longvlm?.progress)).toEqual([]);
});

test.each([
  ['From 0:07 to 1:02:03.', ['0:07', 7, '1:02:03', 3723]],
  ['It is at 12.5 s, at 3 seconds and at 61:00.', ['12.5 s', 12.5, '3 seconds', 3, '61:00', 3660]],
  ['At 4:30 pm, 16:9, 1:75, version 2.5, 3 stars, a10:20, 7:15.', ['7:15', 435]],
  ['9:59:59 is after its end.', []],
])('the times in %s', (answer, expected) => {
  const parts = splitTimes(answer, 7200);
  expect(parts.map((part) => part.text).join('')).toBe(answer);
  expect(parts.flatMap((part) => (part.seconds === undefined ? [] : [part.text, part.seconds]))).toEqual(expected);
});

/** Polls for as long as a busy machine may take. */
const eventually = <T>(value: () => T) => expect.poll(value, { timeout: 30_000 });

if (chromiumPath === undefined) console.warn('The page is not tested in a browser: no Chromium here (CHROMIUM_PATH).');

describe.skipIf(chromiumPath === undefined)('in a browser, the page', () => {
  let browser: Browser;
  let page: Page;
  const elsewhere: string[] = [];
  const complaints: string[] = [];
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: chromiumPath!, args: ['--no-sandbox', '--disable-gpu'] });
    page = await browser.newPage();
    page.setDefaultTimeout(30_000);
    page.on('request', (request: Request) => {
      const { origin, protocol } = new URL(request.url());
      if (/^https?:$/.test(protocol) && !origin.startsWith('http://127.0.0.1:')) elsewhere.push(request.url());
    });
    page.on('console', (message) => {
      if (message.type() === 'error' && !/status of 4\d\d/.test(message.text())) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
  });
  afterAll(() => browser.close());
  beforeEach(async () => {
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.emulateMedia({ colorScheme: 'light' });
  });
  afterEach(async () => {
    await page.unrouteAll();
    expect([elsewhere, complaints]).toEqual([[], []]);
  });

  const open = async (file = video) => {
    await page.goto(service.url);
    await page.locator('#file').setInputFiles(file);
  };
  const answers = () => page.locator('.answer');
  const ask = async (question: string) => {
    await page.getByLabel('Your question').fill(question);
    await page.keyboard.press('Enter');
  };
  /** What axe finds that hinders people, in all parts of the page at once. */
  const found = async () => {
    await page.evaluate(axe.source);
    await page.evaluate("for (const id of ['welcome', 'trouble', 'stale']) document.getElementById(id).hidden = false");
    await page.evaluate("document.getElementById('key-dialog').show()");
    const { violations } = (await page.evaluate("axe.run({ resultTypes: ['violations'] })")) as axe.AxeResults;
    return violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
  };

  test('takes a video, shows what the model sees, and answers over two turns as it is written', async () => {
    await open();
    await eventually(() => page.locator('.moment').count()).toBe(20);
    expect(await page.locator('.frame').count()).toBe(5);
    expect(await page.locator('.frame svg [data-token]').count()).toBeGreaterThan(4);
    expect(await page.locator('#seen-facts').textContent()).toBe(
      '100 frames in 20 segments, 4,900 patches became 84 tokens by merge',
    );
    expect(await page.locator('#budget-words').textContent()).toBe('The model gets 84 tokens of 4,900, by merge');

    await page.evaluate(`
      window.texts = new Set();
      new MutationObserver(() => texts.add(document.querySelector('.answer').textContent))
        .observe(document.getElementById('turns'), { childList: true, subtree: true });`);
    await ask('Describe the video.');
    await eventually(() => answers().first().textContent()).toMatch(/^First three yellow circles, .* triangles\.$/);
    expect(await page.evaluate('texts.size')).toBeGreaterThan(4);
    const asked = page.waitForRequest(/chat\/completions/);
    await ask('What happens last?');
    const { messages } = (await asked).postDataJSON() as { messages: { role: string }[] };
    expect(messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user']);
    await eventually(() => answers().nth(1).textContent()).toBe('Three green triangles.');
    await eventually(() => page.locator('#announcements').textContent()).toContain('Three green triangles.');

    await page.locator('#budget summary').click();
    await page.getByLabel('Method').selectOption('pool');
    await page.getByLabel('Tokens', { exact: true }).fill('44');
    await eventually(() => page.locator('#budget-words').textContent()).toBe(
      'The model gets 44 tokens of 4,900, by pool',
    );
    await page.getByRole('button', { name: 'Show anew' }).click();
    await eventually(() => page.locator('#seen-facts').textContent()).toMatch(/became 44 tokens by pool$/);
    await page.getByLabel('Tokens', { exact: true }).fill('2');
    await page.getByLabel('Method').selectOption('all');
    await eventually(() => page.locator('#plan-error').textContent()).toMatch(/do not fit into a context of/);
  });

  test('goes to a time that an answer names, and to a segment by the keyboard', async () => {
    await open();
    await page.locator('.moment').first().waitFor();
    const chunk = { choices: [{ delta: { content: 'They appear at 0:15.' }, finish_reason: null }] };
    const body = `data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`;
    await page.route('**/v1/chat/completions', (route) => route.fulfill({ contentType: 'text/event-stream', body }));
    await ask('When?');
    await page.getByRole('button', { name: 'Go to 0:15' }).click();
    const time = () =>
      page.locator('#video').evaluate((each) => (each as unknown as { currentTime: number }).currentTime);
    await eventually(time).toBe(15);
    const chosen = () => page.locator('.moment[aria-pressed=true]').getAttribute('aria-label');
    // The fifth of 20 in 62 seconds.
    await eventually(chosen).toMatch(/^Segment 5, /);
    await page.locator('.moment[aria-pressed=true]').focus();
    await page.keyboard.press('Home');
    await eventually(chosen).toMatch(/^Segment 1, /);
    await page.keyboard.press('ArrowRight');
    await eventually(chosen).toMatch(/^Segment 2, /);
    await eventually(time).toBeLessThan(10);
  });

  test('says what is wrong in one line: no video, too large a one, a service that is gone', async () => {
    const bad = path.join(temporary, 'notes.mp4');
    writeFileSync(bad, 'no video');
    await open(bad);
    await ask('What?');
    await eventually(() => page.locator('.turn .notice span').textContent()).toMatch(/^\S.{10,200}\.$/);
    expect(await page.locator('#inspect-error').textContent()).toMatch(/^\S.{10,200}\.$/);
    expect(await page.locator('body').textContent()).not.toContain(tmpdir());

    const tooLarge = path.join(temporary, 'large.mp4');
    writeFileSync(tooLarge, Buffer.alloc(41 << 20));
    await page.locator('#file').setInputFiles(tooLarge);
    await eventually(() => page.locator('#trouble').textContent()).toMatch(/larger than 41943040 bytes/);

    await page.locator('#file').setInputFiles(video);
    await page.locator('.moment').first().waitFor();
    await page.route('**/v1/chat/completions', (route) => route.abort('connectionrefused'));
    await ask('What happens last?');
    await eventually(() => page.locator('.turn .notice').textContent()).toMatch(/cannot be reached/);
    await page.unroute('**/v1/chat/completions');
    await page.getByRole('button', { name: 'Ask again' }).click();
    await eventually(() => answers().textContent()).toBe('Three green triangles.');
    complaints.length = 0;
  });

  test.runIf(process.platform === 'linux')('stops an answer, down to the work of the service', async () => {
    const running = async () =>
      /longvlm_running\{lane="request"\} (\d+)/.exec(await (await fetch(`${service.url}/metrics`)).text())?.[1];
    await page.goto(service.url);
    await page.route('**/v1/inspect', (route) => route.abort());
    writeFileSync(stuck, '');
    try {
      await page.locator('#file').setInputFiles(path.join(world, 'world-2000002.mp4'));
      await ask('Describe the video.');
      await eventually(running).toBe('1');
      await page.keyboard.press('Escape');
      await eventually(() => page.locator('.turn .facts').textContent()).toBe('Stopped');
      await eventually(running).toBe('0');
    } finally {
      if (existsSync(stuck)) rmSync(stuck);
    }
    // What was stopped is no part of the conversation.
    const asked = page.waitForRequest(/chat\/completions/);
    await ask('What happens first?');
    expect(((await asked).postDataJSON() as { messages: object[] }).messages).toHaveLength(1);
    await eventually(() => answers().nth(1).textContent()).toMatch(/^\S.*\.$/);
    complaints.length = 0;
  });

  /** A video of three parts. */
  const large = path.join(temporary, 'three-parts.mp4');
  beforeAll(() => {
    const bytes = readFileSync(video);
    const free = Buffer.alloc((17 << 20) - bytes.length, 'some noise of 31 bytes, and on. ');
    free.writeUInt32BE(free.length);
    free.write('free', 4, 'latin1');
    writeFileSync(large, Buffer.concat([bytes, free]));
  });
  const posted = (route: RegExp) => page.waitForResponse((response) => route.test(new URL(response.url()).pathname));
  const idOf = async (response: Promise<Response>) => ((await (await response).json()) as { id: string }).id;

  test('uploads a large video in parts, and sends one again that broke off', async () => {
    await page.goto(service.url);
    const parts: string[] = [];
    await page.route('**/parts', async (route) => {
      parts.push(route.request().url());
      if (parts.length === 2) await route.abort('connectionreset');
      else await route.continue();
    });
    await page.evaluate(`
      window.words = [];
      new MutationObserver(() => words.push(document.getElementById('upload-words').textContent))
        .observe(document.getElementById('upload-words'), { childList: true });`);
    const completed = posted(/complete$/);
    await page.locator('#file').setInputFiles(large);
    const { file } = (await (await completed).json()) as { file: { id: string; filename: string } };
    expect([parts.length, new Set(parts).size, file.filename]).toEqual([4, 1, 'three-parts.mp4']);
    const kept = await (await fetch(`${service.url}/v1/files/${file.id}/content`)).arrayBuffer();
    expect(Buffer.from(kept).equals(readFileSync(large))).toBe(true);
    expect(await page.evaluate('words')).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^Uploading: \d+\s% of 18 MB$/),
        'The connection broke. Trying again in 1 s',
        'Storing the video',
      ]),
    );
    await page.locator('.moment').first().waitFor();
    complaints.length = 0;
  });

  test('cancels an upload in parts, also when it is left, and nothing of it stays', async () => {
    await page.goto(service.url);
    await page.route('**/parts', () => {});
    const left = async (id: string) => (await fetch(`${service.url}/v1/uploads/${id}`)).status;
    for (const end of [
      async () => {
        await page.getByRole('button', { name: 'Cancel' }).click();
        await page.locator('#welcome').waitFor();
        expect(await page.locator('#trouble').isHidden()).toBe(true);
      },
      () => page.goto('about:blank'),
    ]) {
      const begun = idOf(posted(/uploads$/));
      await page.locator('#file').setInputFiles(large);
      const id = await begun;
      await page.locator('#upload').waitFor();
      expect(await left(id)).toBe(200);
      await end();
      await eventually(() => left(id)).toBe(404);
    }
  });

  test('shows frames of a video that the browser cannot play', async () => {
    await open(path.join(world, 'world-2000004.avi'));
    await page.locator('.moment').nth(3).click();
    await eventually(() => page.locator('#still').getAttribute('src')).toMatch(/^data:image\/jpeg/);
    expect(await page.locator('#still').getAttribute('src')).toBe(
      await page.locator('.moment img').nth(3).getAttribute('src'),
    );
    expect(await page.locator('#still-words').textContent()).toMatch(/cannot play/);
  });

  test.each(['light', 'dark'] as const)(
    'has no serious finding of axe in %s, and fits a phone',
    async (colorScheme) => {
      await page.emulateMedia({ colorScheme });
      await page.goto(service.url);
      await page.locator('#welcome').waitFor();
      await page.setViewportSize({ width: 360, height: 740 });
      const overflow = () => page.evaluate('document.documentElement.scrollWidth - innerWidth') as Promise<number>;
      expect(await overflow()).toBe(0);
      await page.locator('#file').setInputFiles(video);
      await page.locator('.frame').first().waitFor();
      await ask('Describe the video.');
      await eventually(() => answers().textContent()).toMatch(/triangles\.$/);
      await page.locator('#budget summary').click();
      expect(await overflow()).toBe(0);
      expect(await found()).toEqual([]);
    },
  );

  test('asks for a key where the service has some', async () => {
    const keyed = await startService(vlm, { port: 0, apiKeys: ['right'] });
    try {
      await page.goto(keyed.url);
      await page.getByLabel('API key', { exact: true }).fill('wrong');
      await page.keyboard.press('Enter');
      await eventually(() => page.locator('#key-error').textContent()).toBe('The API key is wrong.');
      await page.getByLabel('API key', { exact: true }).fill('right');
      await page.keyboard.press('Enter');
      await page.locator('#welcome').waitFor();
      await page.locator('#file').setInputFiles(video);
      await ask('What happens last?');
      await eventually(() => answers().textContent()).toBe('Three green triangles.');
      expect(await page.evaluate('[localStorage.length, document.cookie]')).toEqual([0, '']);
    } finally {
      await keyed.close();
    }
  });
});
