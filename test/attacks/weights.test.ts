// Weights files that want to harm whoever opens them: each gets one error, with limits of memory and steps.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { copyFile, cp, link, mkdir, readdir, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { Pace } from '../../dist/base/pace.js';
import type { Progress } from '../../dist/base/progress.js';
import { weightsFingerprint } from '../../dist/cache/fingerprint.js';
import { withoutQuantization } from '../../dist/cache/withoutQuantization.js';
import { openGguf } from '../../dist/files/gguf.js';
import { openWeights } from '../../dist/files/openWeights.js';
import { readFloatTensor, writeSafetensors } from '../../dist/files/safetensors.js';
import { FeaturesCache, type Float32Tensor, Projector, VideoEncoder } from '../../dist/index.js';
import { pico } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';
import { zip } from '../fixtures/zip.js';

const folder = await temporaryFolder();
process.env.LONGVLM_CACHE = join(folder, 'cache');
let files = 0;

async function written(content: Uint8Array | string, ending = ''): Promise<string> {
  const path = join(folder, `${files++}${ending}`);
  await writeFile(path, content);
  return path;
}

const refused = (message: RegExp) => ({ code: 'ERR_LONGVLM_WEIGHTS', message: expect.stringMatching(message) });

describe('pickles', () => {
  const latin1 = (text: string) => Buffer.from(text, 'latin1');
  const saved = (pickle: string, more: Record<string, Uint8Array> = {}) =>
    written(zip({ 'a/data.pkl': latin1(`\x80\x02${pickle}.`), ...more }));
  const uint32 = (value: number) =>
    latin1(String.fromCharCode(...Buffer.from(Uint32Array.of(value).buffer))).toString('latin1');
  const number = (value: number) => uint32(value);
  const name = (text: string) => `X${number(text.length)}${text}`;
  const dict = 'ccollections\nOrderedDict\n';
  const fromType = 'ctorch._tensor\n_rebuild_from_type_v2\n';

  test.each<[string, () => string, RegExp]>([
    ['nests tuples 200,000 deep', () => `)${'\x85'.repeat(200_000)}${name('a')}\x93`, /damaged/],
    ['doubles a tuple, and asks for it by name', () => `)${'q\0h\0h\0\x86'.repeat(40)}${name('a')}\x93`, /damaged/],
    [
      'chains dicts by long names',
      () => `}${`${name('k'.repeat(900))}}`.repeat(100)}${'s'.repeat(100)}`,
      /a name of \d+ char/,
    ],
    ['chains dicts by short names', () => `}${`${name('k')}}`.repeat(1000)}${'s'.repeat(1000)}`, /dicts in dicts/],
    ['holds itself', () => `}q\0${name('a')}h\0s`, /dicts in dicts/],
    ['calls itself', () => `${fromType}q\0]q\x01(h\0Nh\x01Neh\0h\x01\x85R`, /damaged/],
    ['makes millions of dicts', () => '}'.repeat(2_000_000), /more than any model/],
    ['makes millions of steps', () => 'N0'.repeat(11_000_000), /more than any model/],
    ['fills the stack', () => 'N'.repeat(1_100_000), /more than any model/],
    ['sets marks without end', () => '('.repeat(1_000_000), /damaged/],
    ['remembers far away', () => `Nr${number(2 ** 31)}`, /damaged/],
    [
      'repeats a list in itself',
      () => `]q\0(${'h\0'.repeat(50_000)}e${`(${'h\0'.repeat(50_000)}e`.repeat(99)}`,
      /more than any model/,
    ],
    [
      'makes a dict of one list again and again',
      () => `(${`${name('a')}N\x86`.repeat(30_000)}tq\0${dict}q\x01${'h\x01h\0\x85R0'.repeat(300_000)}N`,
      /no tensors/,
    ],
    ['makes shapes of a million sizes', () => `(${'K\x01'.repeat(900_000)}tq\0${'h\0'.repeat(1000)}N`, /no tensors/],
    ['holds a text of 17 MB', () => name('x'.repeat(17 << 20)), /more than any model/],
    ['holds a number of megabytes', () => `\x8b${number(4 << 20)}${'\xff'.repeat(4 << 20)}`, /no tensors/],
    ['claims a text beyond its end', () => `X${number(2 ** 32 - 1)}x`, /damaged/],
  ])('one that %s', async (_, pickle, message) => {
    await expect(openWeights(await saved(pickle()))).rejects.toMatchObject(refused(message));
  });

  const tensor = (shape: string, strides: string) =>
    `}${name('w')}ctorch._utils\n_rebuild_tensor_v2\n((${name('storage')}ctorch\nFloatStorage\n${name('0')}${name('cpu')}K\x04tQK\0${shape}${strides}\x89${dict})RtRs`;
  const trillion = '\x8a\x06\0\x10\xa5\xd4\xe8\0';

  test('a tensor of a trillion values over four bytes fills no disk', async () => {
    const path = await saved(tensor(`${trillion}K\x02\x86`, 'K\0K\x01\x86'), { 'a/data/0': new Uint8Array(16) });
    const { tensors } = await withoutQuantization(await openWeights(path));
    expect(tensors.get('w')!.type).toBe('F32 in strides');
    await expect(readFloatTensor(tensors.get('w')!)).rejects.toMatchObject(refused(/F32 in strides/));
  });

  test('steps that lead out of the storage', async () => {
    const path = await saved(tensor('K\x02K\x02\x86', `${trillion}K\x01\x86`), { 'a/data/0': new Uint8Array(16) });
    await expect(openWeights(path)).rejects.toMatchObject(refused(/goes beyond its storage/));
  });

  test('archives that contradict themselves', async () => {
    const records = { 'a/data.pkl': latin1('\x80\x02}.'), 'b/data.pkl': latin1('\x80\x02}.') };
    const local = zip(records);
    local.write('x/data.pkl', local.indexOf('a/data.pkl'));
    await expect(openWeights(await written(local))).rejects.toMatchObject(refused(/is not where its directory says/));
    const twice = Buffer.from(zip(records).toString('latin1').replaceAll('b/data', 'a/data'), 'latin1');
    await expect(openWeights(await written(twice))).rejects.toMatchObject(refused(/two records a\/data\.pkl/));
    const many = zip(records);
    many.writeUInt16LE(60_000, many.length - 22 + 10);
    await expect(openWeights(await written(many))).rejects.toMatchObject(refused(/directory is damaged/));
    const large = zip(records);
    large.writeUInt32LE(0xffffffff, large.length - 22 + 16);
    await expect(openWeights(await written(large))).rejects.toMatchObject(refused(/directory cannot be found/));
  });
});

describe('headers', () => {
  const safetensors = (header: string, dataBytes = 1) => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
    return written(Buffer.concat([length, Buffer.from(header), Buffer.alloc(dataBytes)]));
  };
  const entry = '{"dtype":"U8","shape":[1],"data_offsets":[0,1]}';

  test.each<[string, () => string, RegExp]>([
    ['of 26 MB', () => `{"a":${'[],'.repeat(8_700_000)}1}`, /above the limit of 25000000/],
    ['of lists in lists', () => `{"a":${'['.repeat(2_000_000)}${']'.repeat(2_000_000)}}`, /more than 1000 items/],
    ['of many items', () => `{"a":[${'[],'.repeat(2_000_000)}1]}`, /more than 1000 items/],
    [
      'of many words beside',
      () => `{"__metadata__":{${'"a":"b",'.repeat(20_000)}"a":"b"}}`,
      /more than 10000 words of metadata/,
    ],
    ['of one number', () => `{"a":${'1'.repeat(5_000_000)}}`, /more than 65536 bytes/],
    ['of one name', () => `{"${'x'.repeat(5_000_000)}":${entry}}`, /more than 4096 bytes/],
    ['of spaces', () => `{${' '.repeat(5_000_000)}}`, /more than 1048576 spaces/],
    ['with a name twice', () => `{"a":${entry},"a":${entry}}`, /tensor a occurs twice/],
    ['without an end', () => `{"a":"`, /no JSON object/],
    ['with text behind', () => `{"a":${entry}}x`, /no JSON object/],
  ])('of safetensors %s', async (_, header, message) => {
    await expect(openWeights(await safetensors(header()))).rejects.toMatchObject(refused(message));
  });

  test('names that write to a terminal are shown as escapes', async () => {
    const path = await safetensors('{"\\u001b[31mred\\u0007":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}');
    await expect(openWeights(path)).rejects.toThrow(/tensor \\x1b\[31mred\\x07 of type U8/);
  });

  const u64 = (value: number | bigint) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
  const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer);
  const text = (value: string) => Buffer.concat([u64(value.length), Buffer.from(value)]);
  const gguf = (tensors: number | bigint, values: number | bigint, ...rest: Buffer[]) =>
    written(Buffer.concat([Buffer.from('GGUF'), u32(3), u64(tensors), u64(values), ...rest]));
  const list = (type: number, count: number, bytes: number) =>
    Buffer.concat([text('a'), u32(9), u32(type), u64(count), Buffer.alloc(bytes)]);

  test.each<[string, () => Promise<string>, RegExp]>([
    ['a list of 60 million', () => gguf(0, 1, list(0, 60_000_000, 60_000_000)), /more than 2000000 items/],
    [
      'a list of 2.1 million empty texts',
      () => gguf(0, 1, list(8, 2_100_000, 8 * 2_100_000)),
      /more than 2000000 items/,
    ],
    [
      'a list of lists of lists',
      () => gguf(0, 1, text('a'), u32(9), ...Array(50_000).fill(Buffer.concat([u32(9), u64(1)]))),
      /lists in lists/,
    ],
    ['4 million values', () => gguf(0, 4_000_000, Buffer.alloc(1000)), /claims 4000000 values/],
    ['200,000 tensors', () => gguf(200_000, 0, Buffer.alloc(1000)), /claims 200000 tensors/],
    [
      'a key twice',
      () => gguf(0, 2, text('a'), u32(0), Buffer.alloc(1), text('a'), u32(0), Buffer.alloc(1)),
      /a twice/,
    ],
    ['a key of 5 MB', () => gguf(0, 1, text('k'.repeat(5 << 20)), u32(0), Buffer.alloc(1)), /a text of 5242880 bytes/],
    [
      'an alignment that is no power of two',
      () => gguf(0, 1, text('general.alignment'), u32(4), u32(48)),
      /general\.alignment is 48/,
    ],
    [
      'a tensor of more bytes than the file',
      () => gguf(1, 0, text('w'), u32(1), u64(10 ** 12), u32(0), u64(0)),
      /truncated/,
    ],
    [
      'sizes whose product is beyond all numbers',
      () => gguf(1, 0, text('w'), u32(2), u64(2n ** 40n), u64(2n ** 40n), u32(0), u64(0)),
      /cannot be/,
    ],
    [
      '65,535 parts',
      () => gguf(0, 1, text('split.count'), u32(2), Buffer.from([0xff, 0xff])),
      /claims to be one of 65535/,
    ],
  ])('of GGUF with %s', async (_, path, message) => {
    await expect(openGguf(await path())).rejects.toMatchObject(refused(message));
  });

  test('a vocabulary of 152,000 tokens, and 18,000 tensors, are right; everything else goes on meanwhile', async () => {
    const words = Array.from({ length: 152_000 }, (_, i) => text(`token${i}`));
    const tokens = Buffer.concat([text('tokenizer.ggml.tokens'), u32(9), u32(8), u64(words.length), ...words]);
    const merges = Buffer.concat([text('tokenizer.ggml.merges'), u32(9), u32(8), u64(words.length), ...words]);
    const names = Array.from({ length: 18_000 }, (_, i) => `"model.layers.${i}.mlp.experts.7.down_proj.weight"`);
    const entries = names.map(
      (name, i) => `${name}:{"dtype":"F16","shape":[1,1],"data_offsets":[${2 * i},${2 * i + 2}]}`,
    );
    const paths = [await gguf(0, 2, tokens, merges), await safetensors(`{${entries.join()}}`, 36_000)];
    const rest = vi.spyOn(Pace.prototype, 'rest');
    for (const path of paths) {
      rest.mockClear();
      const { tensors, ...others } = await openWeights(path);
      expect(rest).toHaveBeenCalled();
      if (tensors.size > 0) expect(tensors.size).toBe(18_000);
      else expect('metadata' in others && others.metadata).toBeInstanceOf(Map);
    }
  });
});

describe('indexes of several files', () => {
  const index = async (map: unknown) => written(JSON.stringify({ weight_map: map }), '.safetensors.index.json');
  test.each<[string, unknown, RegExp]>([
    ['a file above', { a: '../secret.safetensors' }, /name of a file beside it/],
    ['an absolute path', { a: '/etc/passwd' }, /name of a file beside it/],
    ['a path of Windows', { a: 'C:\\x.safetensors' }, /name of a file beside it/],
    ['a stream of a file', { a: 'x.safetensors:y' }, /name of a file beside it/],
    ['control characters', { a: 'x\u001b[2J.safetensors' }, /name of a file beside it .*x\\x1b\[2J/],
    ['a name of 300 characters', { a: `${'x'.repeat(300)}` }, /name of a file beside it/],
    [
      'thousands of files',
      Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [i, `${i}.bin`])),
      /names 3000 files/,
    ],
  ])('that name %s', async (_, map, message) => {
    await expect(openWeights(await index(map))).rejects.toMatchObject(refused(message));
  });

  test('that name themselves', async () => {
    const name = `${files}.safetensors.index.json`;
    await expect(openWeights(await index({ a: name }))).rejects.toMatchObject(
      refused(/the index of a model in several files/),
    );
  });
});

test.skipIf(process.platform === 'win32')('what is no file is refused, and waited for by nobody', async () => {
  const pipe = join(folder, 'pipe.safetensors');
  execFileSync('mkfifo', [pipe]);
  for (const path of [pipe, '/dev/zero', '/dev/null'])
    for (const open of [openWeights, openGguf, weightsFingerprint])
      await expect(open(path)).rejects.toMatchObject({
        code: 'ERR_LONGVLM_FILE',
        message: expect.stringMatching(/not a file/),
      });
  // As one of the files of a model, too.
  const shard = join(folder, 'pipes');
  await mkdir(shard);
  execFileSync('mkfifo', [join(shard, 'one.safetensors')]);
  await writeFile(join(shard, 'model.safetensors.index.json'), '{"weight_map":{"a":"one.safetensors"}}');
  await expect(openWeights(shard)).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
});

describe('written-out weights', () => {
  const blocks = 40_000;
  /** A tensor of Q8_0, whose blocks are all alike, but for one value. */
  async function quantized(changed?: number, name?: string): Promise<string> {
    const u64 = (value: number) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
    const header = Buffer.alloc(128);
    Buffer.concat([
      Buffer.from('GGUF\x03\0\0\0'),
      ...[u64(1), u64(0), u64(1), Buffer.from('w\x01\0\0\0'), u64(32 * blocks), Buffer.from('\x08\0\0\0'), u64(32)],
    ]).copy(header);
    const data = Buffer.alloc(34 * blocks);
    for (let block = 0; block < blocks; block++) data.writeUInt16LE(0x3c00, 34 * block);
    if (changed !== undefined) data[34 * (changed >> 5) + 2 + (changed & 31)] = 1;
    const path = join(folder, name ?? `${files++}.gguf`);
    await writeFile(path, Buffer.concat([header.subarray(0, 96), data]));
    return path;
  }
  const valueAt = async (path: string, at: number) => {
    const { tensors } = await withoutQuantization(await openWeights(path));
    return (await readFloatTensor(tensors.get('w')!)).data[at];
  };

  test('are not those of another file that differs in a single value, wherever', async () => {
    expect(await valueAt(await quantized(), 777_777)).toBe(0);
    for (const at of [0, 600_000, 777_777, 32 * blocks - 1]) {
      const path = await quantized(at);
      expect(await valueAt(path, at)).toBe(1);
    }
  });

  test('are not those of the file that was there before, with its times set back', async () => {
    const path = await quantized(undefined, 'replaced.gguf');
    const { atime, mtime } = await stat(path);
    expect(await valueAt(path, 5000)).toBe(0);
    await rename(await quantized(5000), path);
    await utimes(path, atime, mtime);
    expect(await valueAt(path, 5000)).toBe(1);
    const genuine = await readFile(await quantized());
    await writeFile(path, genuine);
    await utimes(path, atime, mtime);
    expect(await valueAt(path, 5000)).toBe(0);
  });

  test('are not made of a file that is exchanged meanwhile', async () => {
    const path = await quantized(123_456, 'exchanged.gguf');
    const kept = async () => (await readdir(join(folder, 'cache', 'weights'))).length;
    const before = await kept();
    const other = await readFile(await quantized(1));
    const open = await openWeights(path);
    // The first report comes when the fingerprint is known, and nothing was read for writing yet.
    const onProgress = ({ done }: Progress) => {
      if (done === 0) writeFileSync(path, other);
    };
    await expect(withoutQuantization(open, { onProgress })).rejects.toMatchObject(refused(/changed while it was read/));
    expect(await kept()).toBe(before);
  });

  test('a file that is cut after it was opened gets one error', async () => {
    const path = join(folder, 'cut.safetensors');
    await writeSafetensors(path, { a: { type: 'F32', shape: [1000], data: new Float32Array(1000) } });
    const { tensors } = await openWeights(path);
    await writeFile(path, (await readFile(path)).subarray(0, 500));
    await expect(readFloatTensor(tensors.get('a')!)).rejects.toMatchObject(refused(/truncated/));
  });
});

describe('weights that are changed after they were loaded', () => {
  const sampling = { frames: 20, segmentFrames: 5, tokensPerSegment: 6, globalLayers: 1 };
  const exchanged = async (file: string, how: string) => {
    const bytes = await readFile(file);
    for (let at = bytes.length - 4000; at < bytes.length - 100; at += 4) bytes.writeFloatLE(0.1, at);
    const other = how === 'written' ? file : `${file}.new`;
    await writeFile(other, bytes);
    if (how !== 'written') await rename(other, file);
  };

  test.each([
    ['replaced', 'lazy'],
    ['written', 'lazy'],
    ['written', 'running'],
    ['replaced', 'released'],
  ])('%s, for an encoder that is %s: one error, and nothing is kept', async (how, state) => {
    const vision = join(await temporaryFolder(), 'clip');
    await cp(pico.clip, vision, { recursive: true });
    const cache = await FeaturesCache.open(await temporaryFolder());
    const encoder = await VideoEncoder.create({ vision, ...sampling, cache, threads: 1, lazy: state === 'lazy' });
    try {
      if (state === 'released') await encoder.release();
      await exchanged(join(vision, 'model.safetensors'), how);
      await expect(encoder.encode(pico.video)).rejects.toMatchObject({
        code: 'ERR_LONGVLM_WEIGHTS',
        message: expect.stringMatching(/was changed after it was loaded\. Load the model again\.$/),
      });
      expect(await cache.list()).toEqual([]);
    } finally {
      await encoder.dispose();
    }
  });

  test('replaced, for an encoder that runs: it goes on with the old ones', async () => {
    const vision = join(await temporaryFolder(), 'clip');
    await cp(pico.clip, vision, { recursive: true });
    const encoder = await VideoEncoder.create({ vision, ...sampling, threads: 1 });
    try {
      const before = await encoder.encode(pico.video);
      await exchanged(join(vision, 'model.safetensors'), 'replaced');
      expect((await encoder.encode(pico.video)).local.data).toEqual(before.local.data);
    } finally {
      await encoder.dispose();
    }
  });

  test('linked and touched: it goes on', async () => {
    const file = join(await temporaryFolder(), 'p.safetensors');
    await copyFile(pico.projector, file);
    const projector = await Projector.load(file, { threads: 1, lazy: true });
    try {
      await link(file, `${file}.link`);
      await utimes(file, 1, 1);
      const features = {
        type: 'float32',
        data: new Float32Array(projector.inChannels),
        dims: [1, projector.inChannels],
      };
      expect((await projector.project(features as Float32Tensor)).dims).toEqual([1, projector.outChannels]);
    } finally {
      await projector.dispose();
    }
  });
});
