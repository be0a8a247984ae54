// The service with nano and real clients: one server for all of it.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, jsonSchema, type ModelMessage, Output, streamText } from 'ai';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FeaturesCache, LongVLM } from '../../dist/index.js';
import { type Service, startService } from '../../dist/service/service.js';
import { longvlm, start } from '../fixtures/commandLine.js';
import { children, exists } from '../fixtures/processes.js';
import { ffmpeg } from '../unit/video/videoFiles.js';

const world = fileURLToPath(new URL('../fixtures/world/', import.meta.url));
const file = path.join(world, 'world-2000000.mp4');
const dataUrl = `data:video/mp4;base64,${readFileSync(file, 'base64')}`;
const temporary = mkdtempSync(path.join(tmpdir(), 'longvlm-service-'));
const logged: string[] = [];
/** While there is a file of this name, ffmpeg never ends; each of its runs is a line in the other. */
const stuck = path.join(temporary, 'stuck');
const runs = path.join(temporary, 'runs');
const wrapper = path.join(temporary, 'ffmpeg');
const left = path.join(temporary, 'temporary');
const before = process.env.TMPDIR;
let vlm: LongVLM;
let service: Service;
let client: OpenAI;

beforeAll(async () => {
  mkdirSync(left);
  process.env.TMPDIR = left;
  appendFileSync(runs, '');
  writeFileSync(
    wrapper,
    `#!/bin/sh\ncase "$*" in *-version*) exec "${ffmpeg.path}" "$@" ;; esac\necho run >> "${runs}"\n` +
      `[ -e "${stuck}" ] && exec "${ffmpeg.path}" -nostdin -v quiet -re -f lavfi -i anullsrc -f null -\n` +
      `exec "${ffmpeg.path}" "$@"\n`,
  );
  chmodSync(wrapper, 0o755);
  const cache = await FeaturesCache.open(path.join(temporary, 'features'));
  vlm = await LongVLM.load({ threads: 1, gpu: 'off', cache, ffmpeg: wrapper });
  service = await startService(vlm, {
    port: 0,
    folders: [world],
    limits: { maxBytes: 4 << 20 },
    onLog: (line) => logged.push(line),
  });
  client = new OpenAI({ baseURL: `${service.url}/v1`, apiKey: 'none', maxRetries: 0 });
});
afterAll(async () => {
  await service.close();
  await vlm.dispose();
  if (before === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = before;
  rmSync(temporary, { recursive: true });
});

type Content = OpenAI.ChatCompletionContentPart[];
const about = (url: string, text: string) =>
  [
    { type: 'video_url', video_url: { url } },
    { type: 'text', text },
  ] as unknown as Content;
const ask = (content: Content | string, more: object = {}) =>
  client.chat.completions.create({ model: 'nano', messages: [{ role: 'user', content }], ...more });

describe("OpenAI's client", () => {
  test('gets an answer about a video, the tokens, and what was used', async () => {
    const { choices, usage, ...rest } = await ask(about(dataUrl, 'What happens last?'));
    expect(choices).toMatchObject([
      { message: { role: 'assistant', content: 'Three green triangles.' }, finish_reason: 'stop' },
    ]);
    const chat = await vlm.chat(file);
    await chat.ask('What happens last?');
    const completion = chat.lastAnswer!.tokenIds.length;
    expect(usage).toMatchObject({
      completion_tokens: completion,
      prompt_tokens: chat.usedTokens - completion,
      total_tokens: chat.usedTokens,
      prompt_tokens_details: { video_tokens: 84 },
    });
    expect(rest).toMatchObject({
      object: 'chat.completion',
      model: 'nano',
      longvlm: { video: { frames: 100, segments: 20, tokens: 84 }, sampling: { segmentFrames: 5, resize: 'squash' } },
    });
    await chat.dispose();
  });

  test('streams the same answer in pieces, and the counts where it asks for them', async () => {
    const whole = await ask(about(dataUrl, 'Describe the video.'));
    const stream = await client.chat.completions.create({
      model: 'nano',
      messages: [{ role: 'user', content: about(dataUrl, 'Describe the video.') }],
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks: OpenAI.ChatCompletionChunk[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    const texts = chunks.map(({ choices }) => choices[0]?.delta.content ?? '');
    expect(texts.join('')).toBe(whole.choices[0]!.message.content);
    expect(texts.filter(Boolean).length).toBeGreaterThan(3);
    expect(chunks[0]!.choices[0]!.delta.role).toBe('assistant');
    expect(chunks.at(-2)).toMatchObject({ choices: [{ finish_reason: 'stop' }], longvlm: { video: { frames: 100 } } });
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: whole.usage });
  });

  test('goes on with a conversation as a chat would', async () => {
    const [first, second] = ['Describe the video.', 'What happens last?'];
    const chat = await vlm.chat(file);
    const answer = await chat.ask(first!);
    const before = chat.usedTokens;
    const expected = await chat.ask(second!);
    const { choices, usage } = await client.chat.completions.create({
      model: 'nano',
      messages: [
        { role: 'user', content: about(pathToFileURL(file).href, first!) },
        { role: 'assistant', content: answer },
        { role: 'user', content: second! },
      ],
    });
    expect(choices[0]!.message.content).toBe(expected);
    expect(usage!.prompt_tokens).toBe(before + chat.lastAnswer!.promptTokens);
    await chat.dispose();
  });

  test('gets JSON of its schema', async () => {
    const schema = {
      type: 'object',
      properties: {
        colour: { enum: ['red', 'green', 'blue'] },
        count: { type: 'integer' },
        note: { anyOf: [{ type: 'string', maxLength: 5 }, { type: 'null' }] },
      },
      required: ['colour', 'count'],
      additionalProperties: false,
    };
    const response_format = { type: 'json_schema', json_schema: { name: 'shapes', schema, strict: true } };
    const { choices } = await ask(about(dataUrl, 'What happens last?'), { response_format, max_tokens: 200 });
    expect(choices[0]!.finish_reason).toBe('stop');
    const answer = JSON.parse(choices[0]!.message.content!);
    expect(schema.properties.colour.enum).toContain(answer.colour);
    expect(Object.keys(answer)).toEqual(['colour', 'count', 'note']);
    const { choices: free } = await ask(about(dataUrl, 'What happens last?'), {
      response_format: { type: 'json_object' },
      max_tokens: 3,
    });
    expect(free[0]!.message.content).toMatch(/^\{/);
  });
});

test('the OpenAPI document has all routes, and what a request may have', async () => {
  const { paths, components } = (await (await fetch(`${service.url}/openapi.json`)).json()) as {
    paths: Record<string, object>;
    components: { schemas: { ChatCompletionRequest: object } };
  };
  expect(
    Object.entries(paths)
      .map(([url, methods]) => `${Object.keys(methods).join(' ')} ${url}`)
      .sort(),
  ).toEqual(
    [
      ...['get /health', 'get /metrics', 'get /openapi.json', 'get /v1/models', 'get /v1/models/{model}'],
      ...['get delete /v1/files/{id}', 'get /v1/files/{id}/content', 'post get /v1/files', 'post /v1/chat/completions'],
      ...['post /v1/inspect', 'post /v1/uploads', 'get /v1/uploads/{id}', 'post /v1/uploads/{id}/parts'],
      ...['post /v1/uploads/{id}/complete', 'post /v1/uploads/{id}/cancel'],
    ].sort(),
  );
  expect(components.schemas.ChatCompletionRequest).toMatchObject({
    required: ['messages'],
    properties: {
      messages: { type: 'array', minItems: 1 },
      longvlm: { anyOf: [{ properties: { resize: { enum: ['crop', 'squash', 'pad'] } } }, { type: 'null' }] },
    },
  });
});

test("Vercel's AI SDK asks about a video's bytes, streaming, over two turns, and with a schema", async () => {
  const model = createOpenAICompatible({
    name: 'longvlm',
    baseURL: `${service.url}/v1`,
    supportsStructuredOutputs: true,
  })('nano');
  const question: ModelMessage = {
    role: 'user',
    content: [
      { type: 'file', data: readFileSync(file), mediaType: 'video/mp4' },
      { type: 'text', text: 'Describe the video.' },
    ],
  };
  const first = streamText({ model, messages: [question], maxRetries: 0 });
  const pieces: string[] = [];
  for await (const each of first.textStream) pieces.push(each);
  expect(pieces.join('')).toMatch(/^First three yellow circles, .* three green triangles\.$/);
  const messages: ModelMessage[] = [
    question,
    { role: 'assistant', content: pieces.join('') },
    { role: 'user', content: 'What happens last?' },
  ];
  const second = await generateText({ model, messages, maxRetries: 0 });
  expect([second.text, second.finishReason]).toEqual(['Three green triangles.', 'stop']);
  const schema = jsonSchema({
    type: 'object',
    properties: { colour: { enum: ['red', 'blue'] } },
    required: ['colour'],
    additionalProperties: false,
  });
  const { output } = await generateText({ model, messages, output: Output.object({ schema }), maxRetries: 0 });
  expect(['red', 'blue']).toContain((output as { colour: string }).colour);
});

test('a video is sampled as vLLM names it, or as the library does, and the response says how', async () => {
  const used = async (more: object) =>
    ((await ask(about(dataUrl, 'What happens last?'), { max_tokens: 1, ...more })) as unknown as { longvlm: object })
      .longvlm;
  expect(await used({ media_io_kwargs: { video: { num_frames: 23, fps: -1 } } })).toMatchObject({
    video: { frames: 25, tokens: 5 * 4 + 4 },
  });
  const own = { start: 2, end: 12, fps: 1, tokensPerSegment: 2, globalLayers: 0 };
  expect(await used({ longvlm: own, media_io_kwargs: { video: { num_frames: 50 } } })).toMatchObject({
    video: { frames: 10, start: 2, tokens: 4 },
  });
});

test.each([
  ['input_video with bytes', { type: 'input_video', input_video: { data: dataUrl.slice(dataUrl.indexOf(',') + 1) } }],
  ['input_video as a text', { type: 'input_video', input_video: dataUrl.slice(dataUrl.indexOf(',') + 1) }],
  ['video_url as a text', { type: 'video_url', video_url: pathToFileURL(file).href }],
])('a video is taken as %s', async (_, part) => {
  const content = [{ type: 'text', text: 'What happens last?' }, part] as unknown as Content;
  expect((await ask(content)).choices[0]!.message.content).toBe('Three green triangles.');
});

describe('a request is refused that', () => {
  const words = { type: 'text', text: 'What?' };
  const schema = (of: object) => ({ response_format: { type: 'json_schema', json_schema: { name: 'a', schema: of } } });
  const schemaParam = (rest = '') => `response_format.json_schema.schema${rest}`;
  const outside = pathToFileURL(fileURLToPath(new URL('../../package.json', import.meta.url))).href;
  const through = `${pathToFileURL(world).href}../../../package.json`;
  test.each([
    ['is for another model', { model: 'gpt-5' }, 404, 'model', /no model 'gpt-5' here/],
    ['has no question', { messages: [{ role: 'user', content: [about(dataUrl, '')[0]] }] }, 400, 'messages', /a text/],
    ['has no video', { messages: [{ role: 'user', content: 'What?' }] }, 400, 'messages', /video_url/],
    ['has no messages', { messages: [] }, 400, 'messages.length', /Expected at least 1/],
    ['is too warm', { temperature: -1 }, 400, 'temperature', /number of at least 0 for temperature but received -1/],
    ['wants tools', { tools: [{ type: 'function', function: { name: 'a' } }] }, 400, 'tools.length', /tools cannot/],
    ['misspells an option', { longvlm: { frame: 4 } }, 400, 'longvlm.frame', /nothing for longvlm.frame/],
    ['wants too many frames', { longvlm: { frames: 10_000 } }, 400, 'frames', /1 to 1024 for frames/],
    [
      'names a file elsewhere',
      { messages: [{ role: 'user', content: about(outside, 'What?') }] },
      403,
      'video_url',
      /no file in a folder/,
    ],
    [
      'climbs out of a folder',
      { messages: [{ role: 'user', content: about(through, 'What?') }] },
      403,
      'video_url',
      /no file in a folder/,
    ],
    [
      'has no URL',
      { messages: [{ role: 'user', content: about('ftp://x/y', 'What?') }] },
      400,
      'video_url',
      /Expected a URL/,
    ],
    ['refers to no schema', schema({ $ref: '#/$defs/a' }), 400, schemaParam('.$ref'), /what is not in \$defs/],
    ['has a NUL in its schema', schema({ enum: ['a\0'] }), 400, schemaParam(), /control character/],
    [
      'recurs to the left',
      schema({ $ref: '#/$defs/a', $defs: { a: { anyOf: [{ $ref: '#/$defs/a' }] } } }),
      400,
      'response_format',
      /left recursion/,
    ],
    [
      'has a schema of many',
      schema({ anyOf: Array.from({ length: 600 }, () => ({ type: 'null' })) }),
      400,
      schemaParam('.anyOf[499]'),
      /more than 500 schemas/,
    ],
    [
      'has a schema that no grammar holds',
      {
        response_format: { type: 'json_schema', json_schema: { name: 'a', schema: { type: 'string', pattern: 'a+' } } },
      },
      400,
      'response_format.json_schema.schema',
      /'pattern', which a grammar cannot hold/,
    ],
    [
      'is too long',
      { messages: [{ role: 'user', content: about(dataUrl, 'word '.repeat(9000)) }] },
      400,
      null,
      /context/,
    ],
  ])('%s', async (_, body, status, param, message) => {
    const failure = await ask([...about(dataUrl, 'What?'), words] as Content, body).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(OpenAI.APIError);
    expect(failure).toMatchObject({ status, param, error: { message: expect.stringMatching(message) } });
  });

  test('has no video in its bytes, without a word of the service’s own files', async () => {
    const failure = await ask(about('data:video/mp4;base64,AAAA', 'What?')).catch((error: unknown) => error);
    expect(failure).toMatchObject({ status: 400, code: 'ERR_LONGVLM_VIDEO', type: 'invalid_request_error' });
    expect(String(failure)).not.toContain(tmpdir());
  });
});

describe('an uploaded file', () => {
  test('is named by its id in a question, until it is deleted', async () => {
    const { id, ...uploaded } = await client.files.create({ file: createReadStream(file), purpose: 'vision' });
    expect(uploaded).toMatchObject({ object: 'file', bytes: statSync(file).size, filename: 'world-2000000.mp4' });
    expect(readdirSync(left)).toHaveLength(1);
    expect((await ask(about(id, 'What happens last?'))).choices[0]!.message.content).toBe('Three green triangles.');
    expect((await client.files.list()).data.map((each) => each.id)).toEqual([id]);
    expect(await client.files.retrieve(id)).toMatchObject({ id, purpose: 'vision' });
    expect(await client.files.delete(id)).toMatchObject({ id, deleted: true });
    await expect(ask(about(id, 'What?'))).rejects.toMatchObject({ status: 404, param: 'video_url' });
    expect(readdirSync(left)).toEqual([]);
  });

  test('is refused where it is too large, whatever it says of its size, and nothing of it stays', async () => {
    const large = new Blob([Buffer.alloc(3 << 20), Buffer.alloc(3 << 20)]);
    const tooLarge = { status: 413, message: expect.stringMatching(/larger than 4194304 bytes/) };
    const upload = client.files.create({ file: new File([large], 'a.mp4'), purpose: 'vision' });
    await expect(upload).rejects.toMatchObject(tooLarge);
    const [status, { error }] = await endless(
      'multipart/form-data; boundary=b',
      '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n',
    );
    expect([status, error.message]).toEqual([413, tooLarge.message]);
    expect(readdirSync(left)).toEqual([]);
  });
});

/** Posts a body that never ends, until there is an answer. */
function endless(
  type: string,
  begin: string,
  path = '/v1/files',
  headers: object = {},
): Promise<[number, { error: { message: string } }]> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(`${service.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': type, ...headers },
    });
    request.on('response', async (response) => {
      clearInterval(sending);
      const answer = JSON.parse(await text(response));
      request.destroy();
      resolve([response.statusCode!, answer]);
    });
    request.on('error', reject);
    request.write(begin);
    const piece = Buffer.alloc(1 << 20);
    // What was announced as too long need not come.
    const sending = setInterval(() => !('content-length' in headers) && request.write(piece), 5);
  });
}

test('a body of 10 GB is refused before it comes', async () => {
  const headers = { 'content-length': 1e10 };
  const [status, { error }] = await endless('application/json', '{', '/v1/chat/completions', headers);
  expect([status, error.message]).toEqual([413, expect.stringMatching(/too large/)]);
});

test('a client that sends on is not cut off before it has read why it is refused', async () => {
  const { hostname, port } = new URL(service.url);
  const socket = connect(Number(port), hostname);
  socket.write(
    'POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n\r\n',
  );
  const received: string[] = [];
  socket.on('data', (bytes) => received.push(String(bytes)));
  await once(socket, 'data');
  // Twice, as the first bytes would only learn that nobody listens.
  for (let i = 0; i < 2; i++) {
    await new Promise<void>((resolve, reject) => {
      socket.write(Buffer.alloc(1 << 20), (error) => (error ? reject(error) : resolve()));
    });
    await sleep(50);
  }
  await new Promise<void>((resolve) => socket.end(Buffer.alloc(9_000_000 - 2 * (1 << 20)), resolve));
  if (!socket.destroyed) await once(socket, 'close');
  expect(received.join('')).toMatch(/^HTTP\/1\.1 413 .*connection: close\r\n.*larger than 4194304 bytes/is);
});

describe('a service with keys', () => {
  let keyed: Service;
  const ask = (headers: Record<string, string>, path = '/v1/models') => fetch(`${keyed.url}${path}`, { headers });
  beforeAll(async () => {
    keyed = await startService(vlm, { port: 0, apiKeys: ['first', 'second'], bodySeconds: 0.2 });
  });
  afterAll(() => keyed.close());

  test.each([
    ['no key', {}, 401],
    ['a wrong key', { authorization: 'Bearer third' }, 401],
    ['a prefix of a key', { authorization: 'Bearer firs' }, 401],
    ['one of its keys', { authorization: 'Bearer second' }, 200],
  ])('answers who gives %s', async (_, headers, status) => {
    expect((await ask(headers as Record<string, string>)).status).toBe(status);
    expect((await ask(headers as Record<string, string>, '/health')).status).toBe(200);
  });

  test('answers no page of another site, and to no name that leads here', async () => {
    const key = { authorization: 'Bearer first' };
    expect((await ask({ ...key, origin: 'https://evil.example' })).status).toBe(403);
    expect((await ask({ ...key, origin: keyed.url })).status).toBe(200);
    const { hostname, port } = new URL(keyed.url);
    const headers = { ...key, host: `rebound.example:${port}` };
    const [response] = (await once(httpRequest({ hostname, port, path: '/v1/models', headers }).end(), 'response')) as [
      IncomingMessage,
    ];
    expect(response.resume().statusCode).toBe(421);
  });

  test('ends a connection whose body does not come', async () => {
    const { hostname, port } = new URL(keyed.url);
    const socket = connect(Number(port), hostname);
    socket.write(
      'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer first\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{',
    );
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 408 /);
  });
});

describe('an upload reads nothing else:', () => {
  const asked: unknown[] = [];
  const inner = createServer((request, response) => {
    asked.push(request.url);
    response.end();
  });
  beforeAll(() => void inner.listen(0, '127.0.0.1'));
  afterAll(() => void inner.close());
  const at = () => `http://127.0.0.1:${(inner.address() as AddressInfo).port}/a.ts`;
  test.each<[string, () => string]>([
    ['a playlist with a file', () => `#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://${file}\n#EXT-X-ENDLIST\n`],
    ['a playlist with an address', () => `#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n${at()}\n#EXT-X-ENDLIST\n`],
    ['a playlist with subfile', () => `#EXTM3U\n#EXTINF:9,\nsubfile,,start,0,end,0,,:${file}\n#EXT-X-ENDLIST\n`],
    ['a playlist with data', () => `#EXTM3U\n#EXTINF:9,\n${dataUrl}\n#EXT-X-ENDLIST\n`],
    ['a concat script', () => `ffconcat version 1.0\nfile ${file}\nduration 9\n`],
    ['a DASH manifest', () => `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>${at()}</BaseURL></MPD>`],
  ])('%s', async (_, list) => {
    const url = `data:video/mp4;base64,${Buffer.from(list()).toString('base64')}`;
    const failure = await ask(about(url, 'What?')).catch((error: unknown) => error);
    expect(failure).toMatchObject({ status: 400, code: 'ERR_LONGVLM_VIDEO' });
    expect(asked).toEqual([]);
  });

  test('a URL of a private network', async () => {
    const failure = await ask(about(at(), 'What?')).catch((error: unknown) => error);
    expect(failure).toMatchObject({ status: 400, code: 'ERR_LONGVLM_FETCH' });
    expect(asked).toEqual([]);
  });
});

test('no line of the log has content of a request', async () => {
  const secret = createHash('sha1').update('a').digest('hex');
  await fetch(`${service.url}/${secret}?${secret}`);
  await ask(about(`https://${secret}.invalid/${secret}`, secret)).catch(() => {});
  expect(logged.length).toBeGreaterThan(10);
  expect(logged.join('\n')).not.toContain(secret);
  expect(logged.join('\n')).not.toMatch(/triangles|happens/);
});

/** Waits until something is so, which events of other processes make it. */
async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 20));
}
const metric = async (name: string, of = service) =>
  Number(
    new RegExp(`^${name.replace(/[{}"]/g, '\\$&')} (.*)$`, 'm').exec(
      await (await fetch(`${of.url}/metrics`)).text(),
    )?.[1],
  );
const video = (index: number) =>
  `data:video/mp4;base64,${readFileSync(path.join(world, `world-200000${index}.mp4`), 'base64')}`;

test('the features of a video are made once, however many ask', async () => {
  const runsOf = async (requests: number) => {
    const start = readFileSync(runs, 'utf8').length;
    const answers = await Promise.all(
      Array.from({ length: requests }, (_, i) =>
        ask(about(video(1), 'Describe the video.'), {
          seed: i,
          max_tokens: 8,
          longvlm: { frames: 5, start: requests },
        }),
      ),
    );
    expect(new Set(answers.map(({ choices }) => choices[0]!.message.content)).size).toBe(1);
    return readFileSync(runs, 'utf8').length - start;
  };
  expect(await runsOf(4)).toBe(await runsOf(1));
});

describe.runIf(process.platform === 'linux')('while ffmpeg is stuck', () => {
  test.each([
    ['', {}],
    [' of a stream', { stream: true }],
  ])('a client%s that goes away takes ffmpeg and the upload with it', async (_, more) => {
    writeFileSync(stuck, '');
    try {
      const gone = new AbortController();
      const body = {
        messages: [{ role: 'user' as const, content: about(video(2), 'What?') }],
        model: 'nano',
        longvlm: { frames: 5 },
        ...more,
      };
      const asked = client.chat.completions.create(body, { signal: gone.signal }).catch((error: unknown) => error);
      await until(() => children().length > 0);
      expect(readdirSync(left)).toHaveLength(1);
      expect(await metric('longvlm_running{lane="decode"}')).toBe(1);
      gone.abort();
      expect(await asked).toBeInstanceOf(OpenAI.APIUserAbortError);
      await until(async () => children().length === 0 && (await metric('longvlm_running{lane="request"}')) === 0);
      await until(() => !existsSync(left) || readdirSync(left).length === 0);
    } finally {
      rmSync(stuck);
    }
  });

  test('who finds no room is told when to try again, and those who wait are answered', async () => {
    await ask(about(dataUrl, 'What happens last?'));
    const lanes = { request: 1 };
    const small = await startService(vlm, { port: 0, lanes, maxWaiting: 1, requestSeconds: 30 });
    const body = (url: string) => ({
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ messages: [{ role: 'user', content: about(url, 'What happens last?') }] }),
    });
    const post = (url: string, signal?: AbortSignal) =>
      fetch(`${small.url}/v1/chat/completions`, { ...body(url), signal: signal ?? null });
    writeFileSync(stuck, '');
    try {
      const gone = new AbortController();
      const first = post(video(2), gone.signal).catch(() => {});
      await until(() => children().length > 0);
      const waiting = post(dataUrl);
      await until(async () => (await metric('longvlm_waiting{lane="request"}', small)) === 1);
      const refused = await post(dataUrl);
      expect([refused.status, Number(refused.headers.get('retry-after'))]).toEqual([429, expect.closeTo(2, 0)]);
      expect(await refused.json()).toMatchObject({ error: { type: 'rate_limit_error', code: 'rate_limit_exceeded' } });
      expect((await fetch(`${small.url}/health`)).status).toBe(200);
      gone.abort();
      await first;
      expect(await (await waiting).json()).toMatchObject({
        choices: [{ message: { content: 'Three green triangles.' } }],
      });
    } finally {
      rmSync(stuck);
      await small.close();
    }
  });

  test('a service that stops lets answers end, refuses the others, and leaves nothing', async () => {
    await ask(about(dataUrl, 'Describe the video.'));
    const ending = await startService(vlm, { port: 0, graceSeconds: 1 });
    const other = new OpenAI({ baseURL: `${ending.url}/v1`, apiKey: 'none', maxRetries: 0 });
    const body = (url: string) => ({
      model: 'nano',
      messages: [{ role: 'user' as const, content: about(url, 'Describe the video.') }],
    });
    writeFileSync(stuck, '');
    try {
      const hangs = other.chat.completions.create(body(video(2))).catch((error: unknown) => error);
      await until(() => children().length > 0);
      const stream = await other.chat.completions.create({ ...body(dataUrl), stream: true });
      const closed = ending.close();
      let text = '';
      for await (const { choices } of stream) text += choices[0]?.delta.content ?? '';
      expect(text).toMatch(/green triangles\.$/);
      await expect(fetch(`${ending.url}/health`)).rejects.toThrow();
      expect(await hangs).toMatchObject({ status: 503, error: { message: expect.stringMatching(/stops/) } });
      await closed;
      await until(() => children().length === 0);
    } finally {
      rmSync(stuck);
    }
  });
});

describe('longvlm serve', () => {
  test.runIf(process.platform === 'linux')(
    'says where it listens, and at SIGTERM ends what hangs and itself, with code 0 and nothing left',
    async () => {
      const own = path.join(temporary, 'own');
      mkdirSync(own);
      const args = ['serve', '--port', '0', '--gpu', 'off', '--threads', '1', '--ffmpeg', wrapper, '--folder', world];
      const { child, result } = start([...args, '--grace-seconds', '0'], { TMPDIR: own, LONGVLM_API_KEYS: 'key' });
      let said = '';
      child.stderr!.on('data', (piece) => (said += piece));
      writeFileSync(stuck, '');
      try {
        await until(() => /listening at \S+\n/.test(said));
        const url = /listening at (\S+)\n/.exec(said)![1]!;
        expect((await fetch(`${url}/v1/models`)).status).toBe(401);
        const asking = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'key', maxRetries: 0 });
        const messages = [{ role: 'user' as const, content: about(video(2), 'What?') }];
        const hangs = asking.chat.completions.create({ model: 'nano', messages }).catch((error: unknown) => error);
        await until(() => children(child.pid).length > 0);
        const helpers = children(child.pid);
        child.kill('SIGTERM');
        expect(await hangs).toMatchObject({ status: 503 });
        expect((await result).code).toBe(0);
        await until(() => !helpers.some(exists));
        await until(() => readdirSync(own).length === 0);
        expect(said).toMatch(/POST \/v1\/chat\/completions failed 503\n/);
      } finally {
        rmSync(stuck);
        child.kill('SIGKILL');
      }
    },
  );

  test('refuses a wrong option before it loads a model', async () => {
    const { code, stderr } = await longvlm('serve', '--port', '70000', '--llm', '/nowhere.gguf');
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/^longvlm: Expected integer .* 65535 for port but .*\n$/),
    ]);
  });
});

test.each<[string, object, RegExp]>([
  ['a port in use', {}, /^Expected port that is free for port but received \d+, which another program uses$/],
  ['an address of another machine', { host: '203.0.113.1', port: 0 }, /^Expected address of this machine for host but/],
  ['a folder that is none', { port: 0, folders: ['/nowhere'] }, /nowhere/],
])('a service is not started at %s', async (_, options, message) => {
  const port = Number(new URL(service.url).port);
  await expect(startService(vlm, { port, ...options })).rejects.toThrow(message);
});
