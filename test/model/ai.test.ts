// longvlm/ai under the real AI SDK, with nano.
import { readFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { LanguageModelV3, LanguageModelV3StreamPart } from '@ai-sdk/provider';
import { generateText, jsonSchema, type ModelMessage, Output, streamText } from 'ai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createLongVLM, type LongVLMModelOptions } from '../../dist/ai/index.js';
import { FeaturesCache, LongVLM } from '../../dist/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

const world = fileURLToPath(new URL('../fixtures/world/', import.meta.url));
const file = `${world}world-2000000.mp4`;
const video = readFileSync(file);

let vlm: LongVLM;
/** The model, whose type is the SDK's own. */
let model: LanguageModelV3;
beforeAll(async () => {
  vlm = await LongVLM.load({ cache: await FeaturesCache.open(await temporaryFolder()), threads: 1 });
  model = createLongVLM(vlm);
});
afterAll(() => vlm.dispose());

type Parts = Extract<ModelMessage, { role: 'user' }>['content'];
const about = (question: string, data: unknown = video, mediaType = 'video/mp4'): ModelMessage => ({
  role: 'user',
  content: [
    { type: 'file', data, mediaType },
    { type: 'text', text: question },
  ] as Parts,
});
const settings = { maxRetries: 0 } as const;

test('answers as the library does, and says what it used', async () => {
  const expected = await vlm.ask(video, 'What happens last?');
  const { text, finishReason, usage, providerMetadata, response } = await generateText({
    ...settings,
    model,
    messages: [about('What happens last?')],
  });
  expect([text, finishReason, response.modelId]).toEqual([expected.text, 'stop', 'nano']);
  const videoTokens = expected.video.runs.reduce((sum, { tokens }) => sum + tokens, 0);
  expect(usage.outputTokens).toBe(expected.tokenIds.length);
  expect(usage.inputTokens).toBeGreaterThan(videoTokens);
  expect(providerMetadata!.longvlm).toMatchObject({ video: { tokens: videoTokens }, warnings: [] });
});

test('streams, and knows the turns before', async () => {
  const first = streamText({ ...settings, model, messages: [about('Describe the video.')] });
  const pieces: string[] = [];
  for await (const piece of first.textStream) pieces.push(piece);
  expect(pieces.length).toBeGreaterThan(3);
  expect(pieces.join('')).toMatch(/^First three yellow circles, .* three green triangles\.$/);
  const messages: ModelMessage[] = [
    about('Describe the video.'),
    { role: 'assistant', content: pieces.join('') },
    { role: 'user', content: 'What happens last?' },
  ];
  const chat = await vlm.chat(video);
  await chat.addTurn('Describe the video.', pieces.join(''));
  expect((await generateText({ ...settings, model, messages })).text).toBe(await chat.ask('What happens last?'));
  await chat.dispose();
});

test('an answer holds to a JSON schema', async () => {
  const schema = jsonSchema<{ colour: string; times: number[] }>({
    type: 'object',
    properties: {
      colour: { enum: ['red', 'blue'] },
      times: { type: 'array', items: { type: 'integer' }, maxItems: 2 },
    },
    required: ['colour', 'times'],
    additionalProperties: false,
  });
  const output = Output.object({ schema });
  const answer = await generateText({ ...settings, model, messages: [about('What happens last?')], output });
  expect(['red', 'blue']).toContain(answer.output.colour);
  expect(answer.output.times.every(Number.isInteger)).toBe(true);
});

describe('a video is taken', () => {
  const ask = async (data: unknown, mediaType?: string, options: LongVLMModelOptions = {}) =>
    (
      await generateText({
        ...settings,
        model: createLongVLM(vlm, options),
        messages: [about('What happens last?', data, mediaType)],
      })
    ).text;
  test('in base64', async () => {
    expect(await ask(video.toString('base64'))).toBe('Three green triangles.');
  });
  test('as features', async () => {
    const features = await vlm.encode(video);
    expect(await ask(await features.toBytes(), 'application/octet-stream')).toBe('Three green triangles.');
  });
  test('at a file: URL, in the folder that is allowed and nowhere else', async () => {
    expect(await ask(pathToFileURL(file), 'video/mp4', { root: world })).toBe('Three green triangles.');
    const outside = pathToFileURL(fileURLToPath(new URL('../../package.json', import.meta.url)));
    await expect(ask(outside, 'video/mp4', { root: world })).rejects.toThrow(/outside of the root/);
    const call = {
      prompt: [
        {
          role: 'user',
          content: [
            { type: 'file', data: outside, mediaType: 'video/mp4' },
            { type: 'text', text: '?' },
          ],
        },
      ],
    } as const;
    await expect(createLongVLM(vlm).doGenerate(call)).rejects.toMatchObject({ code: 'ERR_LONGVLM_UNSUPPORTED' });
  });
  test('not at a private address, unless it is allowed', async () => {
    await expect(ask(new URL('http://127.0.0.1:9/a.mp4'))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FETCH',
      message: /private|address/,
    });
  });
  test('with the sampling of the call', async () => {
    const { providerMetadata } = await generateText({
      ...settings,
      model,
      messages: [about('What happens last?')],
      maxOutputTokens: 1,
      providerOptions: { longvlm: { sampling: { start: 2, end: 12, fps: 1, tokensPerSegment: 2, globalLayers: 0 } } },
    });
    expect(providerMetadata!.longvlm).toMatchObject({ video: { frames: 10, start: 2, tokens: 4 } });
  });
});

describe('a call', () => {
  test('that is cut off says so, and warns of tools', async () => {
    const tools = { look: { description: 'Looks.', inputSchema: jsonSchema({ type: 'object', properties: {} }) } };
    const call = { ...settings, model, messages: [about('Describe the video.')], maxOutputTokens: 2, tools };
    const { finishReason, usage, warnings } = await generateText(call);
    expect([finishReason, usage.outputTokens]).toEqual(['length', 2]);
    expect(warnings).toEqual([expect.objectContaining({ type: 'unsupported', feature: 'tools' })]);
  });

  test('that is aborted ends, and the next one is answered', async () => {
    const ending = new AbortController();
    const stream = streamText({
      ...settings,
      model,
      messages: [about('Describe the video.')],
      abortSignal: ending.signal,
    });
    const types: string[] = [];
    for await (const part of stream.fullStream) {
      types.push(part.type);
      if (part.type === 'text-delta') ending.abort();
    }
    expect(types.at(-1)).toBe('abort');
    const before = generateText({
      ...settings,
      model,
      messages: [about('?')],
      abortSignal: AbortSignal.abort(new Error('gone')),
    });
    await expect(before).rejects.toThrow('gone');
    expect((await generateText({ ...settings, model, messages: [about('What happens last?')] })).text).toBe(
      'Three green triangles.',
    );
  });

  test('whose reader leaves frees its context', async () => {
    const prompt = [
      {
        role: 'user',
        content: [
          { type: 'file', data: video, mediaType: 'video/mp4' },
          { type: 'text', text: 'Describe the video.' },
        ],
      },
    ] as const;
    const { stream } = await createLongVLM(vlm).doStream({ prompt });
    const reader = (stream as ReadableStream<LanguageModelV3StreamPart>).getReader();
    for (let part = await reader.read(); part.value?.type !== 'text-delta'; part = await reader.read());
    await reader.cancel();
    await expect(reader.read()).resolves.toMatchObject({ done: true });
  });

  const refused: [string, readonly ModelMessage[], RegExp][] = [
    ['no video', [{ role: 'user', content: 'What?' }], /mediaType: 'video\/mp4'/],
    [
      'no question',
      [{ role: 'user', content: [{ type: 'file', data: video, mediaType: 'video/mp4' }] }],
      /the question/,
    ],
    ['sound', [about('What?', Buffer.from('x'), 'audio/mpeg')], /audio\/mpeg is no video/],
    ['two videos', [about('What?'), about('And?')], /one video/],
  ];
  test.each(refused)('with %s is refused', async (_, messages, message) => {
    await expect(generateText({ ...settings, model, messages: [...messages] })).rejects.toThrow(message);
  });

  test('with a schema that a grammar cannot hold is refused by its part', async () => {
    const schema = jsonSchema({ type: 'object', properties: { age: { type: 'number', minimum: 3 } } });
    const call = { ...settings, model, messages: [about('?')], output: Output.object({ schema }) };
    await expect(generateText(call)).rejects.toThrow(/responseFormat\.schema\.properties\.age has/);
  });

  test('about what is no video is a part of the stream', async () => {
    const { fullStream } = streamText({
      ...settings,
      model,
      messages: [about('?', Buffer.from('no video'))],
      onError: () => {},
    });
    const parts = [];
    for await (const part of fullStream) parts.push(part);
    expect(parts).toContainEqual({ type: 'error', error: expect.objectContaining({ code: 'ERR_LONGVLM_VIDEO' }) });
  });
});

test.each([
  [{}, /Expected LongVLM for vlm/],
  [undefined, /Expected LongVLM for vlm but received undefined/],
])('%o is no LongVLM', (given, message) => {
  expect(() => createLongVLM(given as never)).toThrow(message);
});
