// Features as bytes, clones and JSON, and back.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { VideoFeatures, type VideoFeaturesInit } from '../../../dist/index.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const float32 = (dims: readonly number[], from = 0) => ({
  type: 'float32' as const,
  data: Float32Array.from({ length: dims.reduce((product, size) => product * size, 1) }, (_, i) => from + i / 8),
  dims,
});

function made(change: Partial<VideoFeaturesInit> = {}): VideoFeatures {
  return new VideoFeatures({
    local: float32([2, 3, 4]),
    global: float32([1, 4], -3),
    sizes: float32([2, 3], 1),
    timestamps: Float32Array.of(0, 0.5, 1, 1.5),
    positions: Int32Array.of(0, 2, 3, 1, 4, 7),
    grid: { steps: 2, rows: 2, columns: 2 },
    sampling: {
      ...{ frames: 4, segmentFrames: 2, tokensPerSegment: 3, globalLayers: 1, resize: 'crop', reduction: 'pick' },
      start: 1,
    },
    tower: 'tower-1',
    source: { name: 'Käfer.mp4', durationSeconds: 9, frameCount: 90, width: 64, height: 48, warnings: ['One.'] },
    ...change,
  });
}

const features = made();
const bytes = await features.toBytes();

describe('features as bytes', () => {
  test('are those of the file that save() writes, in both types', async () => {
    const folder = await temporaryFolder();
    for (const type of ['float32', 'float16'] as const) {
      const file = join(folder, `${type}.safetensors`);
      await features.save(file, { type });
      expect(Buffer.from(await features.toBytes({ type })).equals(readFileSync(file))).toBe(true);
    }
  });

  test('come back from any memory', async () => {
    const padded = Buffer.concat([Buffer.alloc(3), bytes, Buffer.alloc(5)]);
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
    shared.set(bytes);
    for (const given of [bytes, bytes.buffer, padded.subarray(3, 3 + bytes.length), shared, shared.buffer])
      expect(await VideoFeatures.fromBytes(given)).toEqual(features);
    const halves = await VideoFeatures.fromBytes(await features.toBytes({ type: 'float16' }));
    // Eighths below 8 are exact in half precision.
    expect(halves).toEqual(features);
  });

  test('are copied: what happens to the memory afterwards changes nothing', async () => {
    const given = Uint8Array.from(bytes);
    const read = await VideoFeatures.fromBytes(given);
    given.fill(0xff);
    expect(read).toEqual(features);
  });

  test('that are transferred away while they are read are an error', async () => {
    const given = Uint8Array.from(bytes);
    const reading = VideoFeatures.fromBytes(given);
    structuredClone(given.buffer, { transfer: [given.buffer] });
    await expect(reading).rejects.toMatchObject({ code: 'ERR_LONGVLM_WEIGHTS', message: /truncated/ });
  });

  test('of another tower are refused where one is expected', async () => {
    await expect(VideoFeatures.fromBytes(bytes, { tower: 'tower-2' })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_MISMATCH',
    });
  });

  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const withHeader = (change: (text: string) => string) => {
    const text = change(Buffer.from(bytes).toString('utf8', 8, 8 + length));
    const head = Buffer.alloc(8);
    head.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
    return Buffer.concat([head, Buffer.from(text), bytes.subarray(8 + length)]);
  };
  test.each<[string, Uint8Array, RegExp]>([
    ['nothing', new Uint8Array(0), /^the given buffer: It is an empty file\./],
    ['a few bytes', bytes.subarray(0, 5), /not a safetensors file: it has only 5 bytes/],
    ['a part of them', bytes.subarray(0, bytes.length - 1), /truncated/],
    ['a web page', Buffer.from('<!doctype html><html></html>'), /^the given buffer: It is a web page/],
    ['a header of 2^60 bytes', Buffer.concat([Buffer.from('0000000000000010', 'hex'), Buffer.from('{}')]), /limit/],
    ['other weights', withHeader((text) => text.replace('longvlm.features', 'pt')), /holds no video features/],
    ['a later format', withHeader((text) => text.replace('"format_version":"1"', '"format_version":"9"')), /version 9/],
    ['no tower', withHeader((text) => text.replace('"tower":"tower-1",', '')), /features that cannot be \(.*tower/],
    ['another shape', withHeader((text) => text.replace('[2,3,4]', '[2,4,3]')), /has shape \[2, 4, 3\] for 'local'/],
  ])('that are %s are refused', async (_, given, message) => {
    await expect(VideoFeatures.fromBytes(given)).rejects.toMatchObject({ code: 'ERR_LONGVLM_WEIGHTS', message });
  });

  test.each([[[1, 2]], ['text'], [new Float32Array(2)], [null], [features]])('%o are none', async (given) => {
    await expect(VideoFeatures.fromBytes(given as never)).rejects.toThrow(
      /^Expected Uint8Array or ArrayBuffer for bytes but received /,
    );
  });
});

describe('features as plain data', () => {
  test('come back from structuredClone(), postMessage() and JSON', async () => {
    const { port1, port2 } = new MessageChannel();
    port1.postMessage(features);
    const posted = receiveMessageOnPort(port2)!.message;
    for (const plain of [structuredClone(features), posted, JSON.parse(JSON.stringify(features))]) {
      expect(plain).not.toBeInstanceOf(VideoFeatures);
      const back = await VideoFeatures.from(plain);
      expect(back).toBeInstanceOf(VideoFeatures);
      expect(back).toEqual(features);
    }
    expect(await VideoFeatures.from(features)).toBe(features);
    port1.close();
  });

  test('do not share memory with what they came from', async () => {
    const clone = structuredClone(features) as VideoFeaturesInit;
    const back = await VideoFeatures.from(clone);
    clone.local.data.fill(7);
    expect(back).toEqual(features);
  });

  const clone = (change: object) => ({ ...structuredClone(features), ...change }) as unknown as VideoFeaturesInit;
  test.each<[string, unknown, object]>([
    [
      'nothing',
      undefined,
      { name: 'TypeError', message: /clone or the JSON of some for features but received undefined/ },
    ],
    ['another object', { local: [] }, { name: 'TypeError', message: /an instance of Object/ }],
    [
      'JSON without bytes',
      { format: 'longvlm.features' },
      { message: /^Expected text in base64 for features.safetensors/ },
    ],
    ['JSON with other bytes', { format: 'longvlm.features', safetensors: 'AAAA' }, { code: 'ERR_LONGVLM_WEIGHTS' }],
    ['too few values', clone({ local: { ...features.local, dims: [2, 3, 5] } }), { message: /values for local/ }],
    [
      'NaN',
      clone({ sizes: { ...features.sizes, data: new Float32Array(6).fill(Number.NaN) } }),
      { code: 'ERR_LONGVLM_NOT_FINITE' },
    ],
    ['times that do not ascend', clone({ timestamps: Float32Array.of(1, 0, 2, 3) }), { message: /do not ascend/ }],
    [
      'what JSON makes of arrays',
      JSON.parse(JSON.stringify({ ...features })),
      { message: /Float32Array for local.data/ },
    ],
  ])('with %s are refused', async (_, plain, error) => {
    await expect(VideoFeatures.from(plain as never)).rejects.toMatchObject(error);
  });
});
