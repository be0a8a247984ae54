import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { openGguf } from '../../../dist/files/gguf.js';
import { openWeights } from '../../../dist/files/openWeights.js';
import { requireTensor } from '../../../dist/files/requireTensor.js';
import { writeSafetensors } from '../../../dist/files/safetensors.js';
import { describeForeignFile } from '../../../dist/files/whatIsThis.js';
import { start } from '../../fixtures/commandLine.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';
import { zip } from '../../fixtures/zip.js';

const folder = await temporaryFolder();
let files = 0;

async function written(content: Uint8Array | string, name = `${files++}`): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

/** A GGUF file without tensors; strings and small numbers as metadata. */
function gguf(metadata: Record<string, string | number>, tensors: readonly string[] = []): Buffer {
  const text = (value: string) => {
    const bytes = Buffer.from(value);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(bytes.length));
    return Buffer.concat([length, bytes]);
  };
  const header = Buffer.alloc(24);
  header.write('GGUF');
  header.writeUInt32LE(3, 4);
  header.writeUInt32LE(tensors.length, 8);
  header.writeUInt32LE(Object.keys(metadata).length, 16);
  const values = Object.entries(metadata).map(([key, value]) =>
    Buffer.concat([
      text(key),
      Buffer.from([typeof value === 'string' ? 8 : 4, 0, 0, 0]),
      typeof value === 'string' ? text(value) : Buffer.from(Uint32Array.of(value).buffer),
    ]),
  );
  const entries = tensors.map((name, index) => {
    const entry = Buffer.alloc(16);
    entry.writeUInt32LE(32 * index, 8);
    return Buffer.concat([text(name), entry]);
  });
  return Buffer.concat([header, ...values, ...entries, Buffer.alloc(64 + 32 * tensors.length)]);
}

describe('a file that holds no weights is told by what it is, for any opener', () => {
  const tar = Buffer.alloc(512);
  tar.write('model.safetensors');
  tar.write('ustar', 257);
  test.each<[string, Uint8Array | string, RegExp]>([
    ['nothing', '', /It is an empty file\. Download/],
    ['zeros', Buffer.alloc(9000), /nothing but zeros at its start.*not finished\. Download/],
    [
      'a git-lfs pointer',
      'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n',
      /git-lfs.*git lfs pull/,
    ],
    ['a login page', '\n<!DOCTYPE html>\n<html><body>Sign in', /It is a web page\. .*log in/],
    ['an S3 error', '<?xml version="1.0"?><Error><Code>AccessDenied', /an XML text/],
    [
      'an error of an API',
      '{"error":"Repository not found"}',
      /a JSON text that begins '\{"error":"Repository not found"\}'\. .*log in/,
    ],
    ['a line of text', 'Entry not found', /a text that begins 'Entry not found'\. .*log in/],
    ['big-endian GGUF', Buffer.from('GGUF\0\0\0\x03\0\0\0\0', 'latin1'), /another byte order/],
    ['GGUF of version 1', Buffer.from('GGUF\x01\0\0\0\0\0\0\0', 'latin1'), /GGUF file of version 1/],
    ['GGML', Buffer.from('tjgg\x03\0\0\0', 'latin1'), /GGML from before GGUF/],
    ['HDF5', Buffer.from('\x89HDF\r\n\x1a\n', 'latin1'), /an HDF5 file, as Keras/],
    ['NumPy', Buffer.from('\x93NUMPY\x01\0', 'latin1'), /an array of NumPy/],
    ['TFLite', Buffer.from('\x1c\0\0\0TFL3', 'latin1'), /TensorFlow Lite/],
    ['ONNX', Buffer.from('\x08\x08\x12\x07pytorch', 'latin1'), /an ONNX or TensorFlow model/],
    ['gzip', gzipSync('weights'), /a gzip archive\. Unpack it/],
    ['tar', tar, /a tar archive\. Unpack it/],
    ['a video', Buffer.from('\0\0\0\x20ftypisom', 'latin1'), /a video or a picture/],
    ['an index under another name', '{"metadata":{},"weight_map":{"a":"b.safetensors"}}', /ends with '\.index\.json'/],
  ])('%s', async (_, content, message) => {
    const path = await written(content);
    for (const open of [openWeights, openGguf])
      await expect(open(path)).rejects.toMatchObject({
        code: 'ERR_LONGVLM_WEIGHTS',
        message: expect.stringMatching(message),
      });
    expect(describeForeignFile(Buffer.from(content).subarray(0, 4096))).toMatch(message);
  });

  test('archives by what is in them', async () => {
    const packed = await written(zip({ 'm/model.safetensors': deflateRawSync('x') }));
    await expect(openWeights(packed)).rejects.toThrow(/holds no data\.pkl\. Unpack it, and give m\/model\.safetensors/);
    await expect(openWeights(await written(zip({ 'a.npy': Buffer.from('x') })))).rejects.toThrow(/NumPy \(\.npz\)/);
    const script = { 'm/data.pkl': Buffer.from('}.'), 'm/constants.pkl': Buffer.from('}.') };
    await expect(openWeights(await written(zip(script)))).rejects.toThrow(
      /a TorchScript program\. Save the state_dict/,
    );
  });

  test('what is or may be weights is not', () => {
    expect(describeForeignFile(Buffer.from('GGUF\x03\0\0\0', 'latin1'))).toBeUndefined();
    expect(describeForeignFile(Buffer.from('PK\x03\x04', 'latin1'))).toBeUndefined();
    expect(describeForeignFile(Buffer.from('\x10\0\0\0\0\0\0\0{"a":', 'latin1'))).toBeUndefined();
    expect(describeForeignFile(Buffer.from([0x80, 2, 0x8a, 10, 0]))).toBeUndefined();
  });

  test('another format than the wanted one', async () => {
    const path = join(folder, 'model.gguf');
    await writeSafetensors(path, { a: { type: 'F32', shape: [1], data: new Float32Array(1) } });
    await expect(openGguf(path)).rejects.toThrow(/not a GGUF file, but a safetensors file\. .*convert_hf_to_gguf/);
    // By its content, whatever its name is.
    expect([...(await openWeights(path)).tensors.keys()]).toEqual(['a']);
  });
});

describe('GGUF files that are no model by themselves', () => {
  test.each<[string, Record<string, string | number>, readonly string[], RegExp]>([
    ['an adapter', { 'general.type': 'adapter', 'adapter.type': 'lora' }, [], /an adapter \(LoRA\)/],
    ['an importance matrix', { 'general.type': 'imatrix' }, [], /importance matrix/],
    [
      'both models in one',
      { 'general.architecture': 'gemma3' },
      ['token_embd.weight', 'v.blk.0.ln1.weight'],
      /as Ollama/,
    ],
    ['a second part', { 'split.no': 1, 'split.count': 3 }, [], /part 2 of 3 .* Give the first part, and keep/],
    ['a first part of another name', { 'split.no': 0, 'split.count': 2 }, [], /like NAME-00001-of-00002\.gguf/],
  ])('%s', async (_, metadata, tensors, message) => {
    const path = await written(gguf(metadata, tensors));
    await expect(openGguf(path)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: expect.stringMatching(message),
    });
  });

  test('parts are named, and a first part needs the others', async () => {
    const second = await written(gguf({ 'split.no': 1, 'split.count': 2 }), 'm-00002-of-00002.gguf');
    await expect(openGguf(second)).rejects.toThrow(/Give the first part, m-00001-of-00002\.gguf, and keep/);
    const first = await written(gguf({ 'split.no': 0, 'split.count': 2 }), 'm-00001-of-00002.gguf');
    expect((await openGguf(first)).metadata.get('split.count')).toBe(2);
    const alone = await written(gguf({ 'split.no': 0, 'split.count': 3 }), 'n-00001-of-00003.gguf');
    await expect(openGguf(alone)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
      message: `${join(folder, 'n-00002-of-00003.gguf')} does not exist, which is part 2 of 3 of the model. Download it, too.`,
    });
  });

  test('towers and projectors, and models without vision, are none of these', async () => {
    expect(
      (await openGguf(await written(gguf({ 'general.architecture': 'clip' }, ['v.blk.0.ln1.weight'])))).tensors.size,
    ).toBe(1);
    expect(
      (await openGguf(await written(gguf({ 'general.architecture': 'llama' }, ['blk.0.attn_v.weight'])))).tensors.size,
    ).toBe(1);
  });
});

test('adapters in safetensors are told, unless weights are beside them', async () => {
  const tensor = { type: 'F32' as const, shape: [1], data: new Float32Array(1) };
  const path = join(folder, 'adapter.safetensors');
  const name = 'base_model.model.layers.0.q_proj.lora_A.weight';
  await writeSafetensors(path, { [name]: tensor });
  await expect(openWeights(path)).rejects.toThrow(/it is an adapter \(LoRA\) of a model\. Merge it/);
  await writeSafetensors(path, { [name]: tensor, 'mm_projector.weight': tensor });
  expect((await openWeights(path)).tensors.size).toBe(2);
  await mkdir(join(folder, 'peft'));
  await writeFile(join(folder, 'peft', 'adapter_config.json'), '{}');
  await expect(openWeights(join(folder, 'peft'))).rejects.toThrow(/holds an adapter \(LoRA\)/);
});

describe('a download that was not finished', () => {
  const size = 18 << 20;
  const weights = (zeros: number) => {
    const data = new Uint8Array(size).fill(7);
    return { type: 'U8' as const, shape: [size], data: data.fill(0, size - zeros) };
  };

  test.each([
    ['a part', 1 << 20],
    ['half', size >> 1],
    ['nearly all of it', size - 5000],
  ])('whose space was reserved, and whose end is zeros: %s', async (_, zeros) => {
    const path = join(folder, 'reserved.safetensors');
    await writeSafetensors(path, { a: weights(zeros) });
    await expect(openWeights(path)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: expect.stringMatching(/its end is nothing but zeros/),
    });
  });

  test('is not one whose last rows are zeros, nor one of zeros alone', async () => {
    const path = join(folder, 'padded.safetensors');
    for (const zeros of [0, 200_000, size]) {
      await writeSafetensors(path, { a: weights(zeros) });
      expect((await openWeights(path)).tensors.size).toBe(1);
    }
  });

  test('is told by its name', async () => {
    const path = await written(gguf({ 'general.architecture': 'llama' }).subarray(0, 40), 'model.gguf.part');
    await expect(openWeights(path)).rejects.toThrow(/truncated: .* Its download has not finished: wait/);
  });
});

test('a tensor without values is refused where it is needed', async () => {
  const path = join(folder, 'nothing.safetensors');
  await writeSafetensors(path, { a: { type: 'F32', shape: [0, 3], data: new Float32Array(0) } });
  const file = await openWeights(path);
  expect(() => requireTensor(file, 'a', [-1, 3])).toThrow(/tensor a of shape \[0, 3\] holds no values/);
});

test('info says that weights are no video', async () => {
  const path = join(folder, 'weights.safetensors');
  await writeSafetensors(path, { a: { type: 'F32', shape: [1], data: new Float32Array(1) } });
  const { code, stderr } = await start(['info', path]).result;
  expect(code).toBe(1);
  expect(stderr).toMatch(
    /weights\.safetensors holds weights of a model, or features of a video, and no video\. Name weights/,
  );
});
