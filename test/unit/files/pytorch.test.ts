import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { openWeights } from '../../../dist/files/openWeights.js';
import { openPytorch } from '../../../dist/files/pytorch.js';
import { readInOrder } from '../../../dist/files/readInOrder.js';
import { requireTensor } from '../../../dist/files/requireTensor.js';
import { readTensor, writeSafetensors } from '../../../dist/files/safetensors.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';
import { zip } from '../../fixtures/zip.js';

const saved = (name: string) => fileURLToPath(new URL(`../../fixtures/pytorch/${name}`, import.meta.url));
const folder = await temporaryFolder();
let files = 0;

async function written(bytes: Uint8Array): Promise<string> {
  const path = join(folder, `${files++}.pt`);
  await writeFile(path, bytes);
  return path;
}

const float16 = (bits: ArrayLike<number>) => [...Array.from(bits)];

describe('what torch.save wrote', () => {
  test('is read by name, with the names of dicts before it', async () => {
    const { tensors } = await openWeights(saved('mixed.pt'));
    const shapes = Object.fromEntries([...tensors].map(([name, { type, shape }]) => [name, `${type} ${shape}`]));
    expect(shapes).toEqual({
      'model.f32': 'F32 4,6',
      'model.f16': 'F16 4,6',
      'model.bf16': 'BF16 4,6',
      'model.i64': 'I64 3',
      'model.view': 'F32 2,3',
      'model.turned': 'F32 in strides 6,4',
      'model.parameter': 'F32 4',
    });
  });

  test('has the values that PyTorch prints', async () => {
    const { tensors } = await openWeights(saved('mixed.pt'));
    const values = async (name: string) => readTensor(tensors.get(`model.${name}`)!);
    const row = [-1.1258398294448853, -1.152360200881958, -0.2505785822868347, -0.4338788092136383];
    expect([...((await values('f32')) as Float32Array).subarray(0, 4)]).toEqual(row);
    expect(float16(((await values('f16')) as Uint16Array).subarray(0, 2))).toEqual([0xbc81, 0xbc9c]);
    expect([...((await values('bf16')) as Float32Array).subarray(0, 3)]).toEqual([-1.125, -1.15625, -0.25]);
    expect([...((await values('view')) as Float32Array)]).toEqual([6, 7, 8, 9, 10, 11]);
    expect([...((await values('i64')) as BigInt64Array)]).toEqual([0n, 1n, 2n]);
    expect([...((await values('parameter')) as Float32Array)]).toEqual([0, 1, 2, 3]);
  });

  test('is read from a file of before PyTorch 1.6, as PyTorch prints it', async () => {
    const { tensors } = await openWeights(saved('before_1_6.pt'));
    const values = async (name: string) => [...((await readTensor(tensors.get(name)!)) as Float32Array)];
    expect(await values('weight')).toEqual([
      -0.005293981172144413, 0.37932288646698, -0.5819807648658752, -0.5203874707221985,
    ]);
    expect(await values('bias')).toEqual([-0.27234524488449097, 0.1896158903837204]);
  });

  test('is read from a bare state_dict', async () => {
    expect([...(await openWeights(saved('state_dict.pt'))).tensors.keys()]).toEqual(['weight', 'bias']);
  });

  test('is put in order where it lies in strides', async () => {
    const { tensors } = await openWeights(saved('mixed.pt'));
    const turned = tensors.get('model.turned')!;
    // Not silently in another order by whoever does not know of strides.
    await expect(readTensor(turned)).rejects.toThrow(/model\.turned is of type F32 in strides/);
    const values = new Float32Array((await readInOrder(turned)).buffer);
    expect([...values.subarray(0, 6)]).toEqual([
      -1.1258398294448853, -0.31601276993751526, 0.16645534336566925, 2.0049805641174316, -1.152360200881958,
      -2.1152193546295166,
    ]);
  });

  test.each([
    ['module.pt', /its pickle asks for torch\.nn\.modules\.linear\.Linear, .* refused\. Get the weights from a source/],
  ])('is refused when it is %s', async (name, message) => {
    await expect(openWeights(saved(name))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: expect.stringMatching(message),
    });
  });

  test('is refused when it was cut, wherever', async () => {
    const whole = await readFile(saved('mixed.pt'));
    for (const bytes of [4, 20, 300, 1000, whole.length - 100, whole.length - 1])
      await expect(openPytorch(await written(whole.subarray(0, bytes))), `cut at ${bytes}`).rejects.toMatchObject({
        code: 'ERR_LONGVLM_WEIGHTS',
      });
  });

  test('never breaks on random damage', async () => {
    const whole = await readFile(saved('mixed.pt'));
    let state = 3;
    const random = (below: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let round = 0; round < 200; round++) {
      const bytes = Uint8Array.from(whole);
      for (let i = 0; i < 6; i++) bytes[random(whole.length)] = random(256);
      const opened = await openPytorch(await written(bytes)).catch((error: unknown) => error);
      if (opened instanceof Error) expect(opened).toMatchObject({ code: 'ERR_LONGVLM_WEIGHTS' });
    }
  });
});

/** A pickle in an archive as torch.save makes them. */
function archive(pickle: string | Uint8Array, more: Record<string, Uint8Array> = {}, method = 0): Buffer {
  const bytes = typeof pickle === 'string' ? Buffer.from(pickle, 'latin1') : pickle;
  return zip({ 'a/data.pkl': bytes, 'a/byteorder': Buffer.from('little'), ...more }, method);
}

// A tensor of `shape` over storage `0`, whose record holds four floats.
const tensorPickle = (shape: string, start = 0) =>
  `\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQK${String.fromCharCode(start)}${shape}K\x01\x85\x89ccollections\nOrderedDict\n)RtRs.`;

describe('a hostile pickle', () => {
  const proof = join(folder, 'proof');
  test.each([
    ['runs a command', `cos\nsystem\n(X${length(`touch ${proof}`)}touch ${proof}tR.`, 'os.system'],
    ['runs Python', 'c__builtin__\neval\n(X\x03\0\0\x001+1tR.', '__builtin__.eval'],
    ['asks by the stack', '\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x01x\x85R.', 'posix.system'],
    ['hides in torch', 'ctorch.hub\nload\n(tR.', 'torch.hub.load'],
    ['has a name of JavaScript', 'cconstructor\nconstructor\n(tR.', 'constructor.constructor'],
  ])('that %s is refused, and named', async (_, pickle, name) => {
    const path = await written(archive(pickle));
    await expect(openWeights(path)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: `${path}: its pickle asks for ${name}, which saved tensors do not need, so it was refused. Get the weights from a source that you trust.`,
    });
    expect(existsSync(proof)).toBe(false);
  });

  test.each([
    ['makes an object', '(i__main__\nX\n.', /an instruction \(0x69\)/],
    ['takes from an empty stack', 'R.', /its pickle is damaged/],
    ['recalls what was never kept', 'h\x05.', /its pickle is damaged/],
    ['has no end', 'N', /its pickle is damaged/],
    ['has no tensor', '}.', /it holds no tensors/],
    ['calls what cannot be called', '}(tR.', /its pickle is damaged/],
    ['goes beyond its storage', tensorPickle('K\x05\x85'), /a tensor of shape \[5\] goes beyond its storage/],
    ['starts beyond its storage', tensorPickle('K\x02\x85', 3), /a tensor of shape \[2\] goes beyond its storage/],
    ['has a size below zero', tensorPickle('J\xff\xff\xff\xff\x85'), /a tensor that cannot be read/],
  ])('that %s is refused', async (_, pickle, message) => {
    const path = await written(archive(pickle, { 'a/data/0': new Uint8Array(16) }));
    await expect(openWeights(path)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: expect.stringMatching(message),
    });
  });

  test('would be read, were it not for that', async () => {
    const path = await written(archive(tensorPickle('K\x03\x85', 1), { 'a/data/0': new Uint8Array(16) }));
    expect((await openWeights(path)).tensors.get('w')).toMatchObject({ type: 'F32', shape: [3], byteLength: 12 });
  });

  test('that puts one dict into another again and again does not take for ever', async () => {
    // Each dict has 200 keys for the one before it: 200^6 ways down.
    let pickle = '}q\x00';
    for (let level = 1; level <= 6; level++) {
      const keys = Array.from(
        { length: 200 },
        (_, i) => `X\x03\0\0\0${String(100 + i)}h${String.fromCharCode(level - 1)}`,
      );
      pickle += `0}q${String.fromCharCode(level)}(${keys.join('')}u`;
    }
    await expect(openWeights(await written(archive(`${pickle}.`)))).rejects.toThrow(/more than 2000000 entries/);
  });

  test('in a compressed archive, or one of another byte order, or none, is refused', async () => {
    const compressed = await written(archive('}.', {}, 8));
    await expect(openWeights(compressed)).rejects.toThrow(/its zip archive is compressed/);
    const big = await written(archive('}.', { 'a/byteorder': Buffer.from('big') }));
    await expect(openWeights(big)).rejects.toThrow(/another byte order/);
    const other = await written(zip({ 'readme.txt': Buffer.from('hello') }));
    await expect(openWeights(other)).rejects.toThrow(/holds no data\.pkl/);
  });
});

describe('weights in several files', () => {
  const tensor = (value: number) => ({ type: 'F32' as const, shape: [1], data: Float32Array.of(value) });

  async function sharded(name: string, map: unknown): Promise<string> {
    const path = join(folder, name);
    await mkdir(path);
    await writeSafetensors(join(path, 'one.safetensors'), { a: tensor(1), extra: tensor(9) });
    await copyFile(saved('state_dict.pt'), join(path, 'two.bin'));
    await writeFile(join(path, 'four.safetensors'), '01234567{');
    await writeFile(join(path, 'model.safetensors.index.json'), JSON.stringify({ weight_map: map }));
    return path;
  }

  test('are one set, found by the folder or the index', async () => {
    const path = await sharded('whole', { a: 'one.safetensors', bias: 'two.bin' });
    for (const given of [path, join(path, 'model.safetensors.index.json')]) {
      const { tensors } = await openWeights(given);
      expect([...tensors.keys()]).toEqual(['a', 'bias']);
      expect(tensors.get('bias')!.file).toBe(join(path, 'two.bin'));
    }
  });

  test('may lack files, until a tensor of one is needed', async () => {
    const path = await sharded('part', { a: 'one.safetensors', b: 'three.safetensors' });
    const file = await openWeights(path);
    expect([...file.tensors.keys()]).toEqual(['a']);
    expect(requireTensor(file, 'a', [1]).file).toBe(join(path, 'one.safetensors'));
    expect(() => requireTensor(file, 'b', [1])).toThrow(
      `${join(path, 'three.safetensors')} does not exist, which holds tensor b. Download it, too.`,
    );
    expect(() => requireTensor(file, 'c', [1])).toThrow(/tensor c is missing/);
  });

  test.each<[string, unknown, string, RegExp]>([
    ['lacks a tensor', { b: 'one.safetensors' }, 'ERR_LONGVLM_WEIGHTS', /one\.safetensors: tensor b is missing, which/],
    [
      'names a file elsewhere',
      { a: '../one.safetensors' },
      'ERR_LONGVLM_WEIGHTS',
      /its weight_map does not name .* weight_map\.a but received '\.\.\/one/,
    ],
    ['names a folder', { a: '..' }, 'ERR_LONGVLM_WEIGHTS', /its weight_map does not name .*'\.\.'/],
    ['names no file', {}, 'ERR_LONGVLM_WEIGHTS', /its weight_map does not name .*at least one tensor for weight_map/],
    ['names a number', { a: 5 }, 'ERR_LONGVLM_WEIGHTS', /string for weight_map\.a but received 5/],
    ['holds a list', [], 'ERR_LONGVLM_WEIGHTS', /at least one tensor for weight_map/],
    ['names a damaged file', { a: 'four.safetensors' }, 'ERR_LONGVLM_WEIGHTS', /four\.safetensors: not a safeten/],
  ])('are refused when one %s', async (name, map, code, message) => {
    const path = await sharded(name, map);
    await expect(openWeights(path)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});

/** A string's length as BINUNICODE has it. */
function length(text: string): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(text.length);
  return bytes.toString('latin1');
}
