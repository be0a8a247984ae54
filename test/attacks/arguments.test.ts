// Arguments that are not what they look like: other realms' arrays are as good, everything else is one clear error.
import vm from 'node:vm';
import { describe, expect, test } from 'vitest';
import { checkObject, checkSignal, checkString, wrongType } from '../../dist/base/validate.js';
import { checkCache, FeaturesCache } from '../../dist/encode/featuresCache.js';
import { evaluate, LongVLM, reducerId, sampleFrameIndices, VideoFeatures } from '../../dist/index.js';
import { DeviceBuffer } from '../../dist/kernels/deviceBuffer.js';
import {
  bipartiteSoftMatching,
  mergeTokens,
  mergeTokensSync,
  poolClsTokens,
  TokenMerger,
  unmergeTokens,
} from '../../dist/kernels/index.js';
import { openVideo } from '../../dist/video/openVideo.js';

const realm = vm.createContext({ AbortController });
const foreign = (code: string) => vm.runInContext(code, realm) as never;
const numbers = Float32Array.from({ length: 24 }, (_, i) => ((i * 7) % 13) / 13);
const tensor = (data: Float32Array | Uint16Array = numbers, type: 'float32' | 'float16' = 'float32') => ({
  type,
  data,
  dims: [1, 6, 4],
});
const options = { heads: 2, keep: 3 };

function revoked(target: object): never {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy as never;
}

describe('arrays of another realm', () => {
  test('are taken by every kernel, and give the same', async () => {
    const data = foreign(`Float32Array.from({ length: 24 }, (_, i) => ((i * 7) % 13) / 13)`);
    const dims = foreign('[1, 6, 4]');
    const wanted = mergeTokensSync(tensor(), options);
    expect(mergeTokensSync({ type: 'float32', data, dims }, options)).toEqual(wanted);
    expect(await mergeTokens({ type: 'float32', data, dims }, options)).toEqual(wanted);
    expect(await new TokenMerger(options).merge(tensor(data))).toEqual(wanted);
    expect(await poolClsTokens(tensor(data))).toEqual(await poolClsTokens(tensor()));
    const assignment = foreign('new Int32Array([0, 1, 2, 0, 1, 2])');
    const merged = { ...wanted.tokens };
    expect(await unmergeTokens(merged, assignment)).toEqual(
      await unmergeTokens(merged, new Int32Array([0, 1, 2, 0, 1, 2])),
    );
  });

  test('are taken as the bytes of a video', async () => {
    for (const input of ['new Uint8Array(0)', 'new ArrayBuffer(0)'])
      await expect(openVideo(foreign(input))).resolves.toMatchObject({ name: 'video' });
  });
});

describe('what only looks like an array', () => {
  test('is refused', () => {
    const likely = [
      new Proxy(numbers, {}),
      Object.create(numbers),
      revoked(numbers),
      Object.create(Float32Array.prototype),
      new DataView(new ArrayBuffer(96)),
    ];
    for (const data of likely)
      expect(() => mergeTokensSync(tensor(data as never), options)).toThrow(
        /^Expected Float32Array for tokens.data but received /,
      );
    expect(() => mergeTokensSync({ ...tensor(), dims: revoked([]) }, options)).toThrow(
      /^Expected array for tokens.dims /,
    );
    expect(() => mergeTokensSync(revoked({}), options)).toThrow(/^Expected Tensor for tokens /);
    expect(() => mergeTokensSync(tensor(), revoked({}))).toThrow(/^Expected object for options /);
    expect(() => mergeTokensSync(tensor(), { heads: 2, schedule: revoked([]) })).toThrow(
      /^Expected array of integers for schedule /,
    );
    expect(() => mergeTokensSync(tensor(), { heads: 2, schedule: new Array(2 ** 32 - 1) })).toThrow(
      /^Expected at most 1048576 levels /,
    );
  });

  test('is refused where its memory can be taken away', async () => {
    const Resizable = ArrayBuffer as unknown as new (length: number, options: object) => ArrayBuffer;
    const data = new Float32Array(new Resizable(96, { maxByteLength: 96 })).fill(0.5);
    const refusal = {
      name: 'TypeError',
      message: 'Expected ArrayBuffer of a fixed length for tokens.buffer but received a resizable one',
    };
    await expect(mergeTokens(tensor(data), options)).rejects.toMatchObject(refusal);
    expect(mergeTokensSync(tensor(data), options).tokens.dims).toEqual([1, 3, 4]);
  });

  test('gives the right result when a small buffer is transferred away meanwhile', async () => {
    const data = numbers.slice();
    const merged = mergeTokens(tensor(data), options);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    expect(await merged).toEqual(mergeTokensSync(tensor(), options));
  });
});

describe('options', () => {
  test('that have no text are described in the error', () => {
    class Odd {
      toString(): string {
        throw new Error('no text');
      }
    }
    const getter = Object.defineProperty({}, 'constructor', {
      get: () => {
        throw new Error('none');
      },
    });
    for (const value of [
      Object.create(null),
      new Odd(),
      getter,
      { constructor: { name: Symbol('x') } },
      revoked({}),
      revoked(() => {}),
      Symbol('s'),
      new Proxy(
        {},
        {
          get: () => {
            throw new Error('none');
          },
        },
      ),
    ]) {
      expect(() => checkString('name', value)).toThrow(/^Expected non-empty string for name but received /);
      expect(() => wrongType('name', 'number', value)).toThrow(/^Expected number for name but received /);
    }
    expect(() => checkObject('options', revoked({}))).toThrow(TypeError);
  });

  test('are read once: a schedule that changes or throws later does no harm', async () => {
    let reads = 0;
    const once = (value: unknown) => ({ enumerable: true, get: () => (reads++ === 0 ? value : planted()) });
    const planted = () => {
      throw new Error('read again');
    };
    for (const key of ['heads', 'schedule', 'protect', 'sizes', 'device'] as const) {
      const given = { heads: 2, schedule: [2, 1], protect: 0, sizes: undefined, device: 'cpu' as const };
      for (const merge of [mergeTokensSync, mergeTokens]) {
        reads = 0;
        await merge(tensor(), Object.defineProperty({ ...given }, key, once(given[key])) as never);
        expect(reads).toBe(1);
      }
    }
    for (const key of ['type', 'data', 'dims'] as const) {
      reads = 0;
      mergeTokensSync(Object.defineProperty({ ...tensor() }, key, once(tensor()[key])) as never, options);
    }
    reads = 0;
    const schedule = Object.defineProperty([2, 1], 0, once(2));
    expect(mergeTokensSync(tensor(), { heads: 2, schedule }).tokens.dims).toEqual([1, 3, 4]);
  });

  test('pass on what a getter of the caller throws', async () => {
    const mine = new Error('mine');
    const throwing = (key: string) =>
      Object.defineProperty({ heads: 2, keep: 3 }, key, {
        get: () => {
          throw mine;
        },
      }) as never;
    for (const key of ['heads', 'keep', 'sizes']) {
      expect(() => mergeTokensSync(tensor(), throwing(key))).toThrow(mine);
      await expect(mergeTokens(tensor(), throwing(key))).rejects.toBe(mine);
    }
    await expect(bipartiteSoftMatching(tensor(), 1, throwing('protect'))).rejects.toBe(mine);
  });
});

test('a signal of another realm counts, and what only has the class of one does not', async () => {
  // As Jest's environments have: the same methods, another class.
  class Other extends EventTarget {
    aborted = true;
    reason = new Error('stopped');
    throwIfAborted(): void {
      throw this.reason;
    }
  }
  await expect(mergeTokens(tensor(), { ...options, signal: new Other() as never })).rejects.toThrow('stopped');
  for (const value of [
    Object.create(AbortSignal.prototype),
    new Proxy(new AbortController().signal, {}),
    { aborted: false },
    new EventTarget(),
  ])
    expect(() => checkSignal(value)).toThrow(/^Expected AbortSignal for signal /);
});

describe('instances of classes', () => {
  const odd = (Class: { readonly prototype: object }) => [
    revoked({}),
    new Proxy(Object.create(Class.prototype), {}) as never,
    Object.create(Class.prototype) as never,
    Object.create(revoked({})) as never,
  ];

  test('are none if only the prototype is right', async () => {
    for (const [Class, refusal] of [
      [DeviceBuffer, (value: never) => mergeTokens(value, options)],
      [FeaturesCache, async (value: never) => checkCache(value)],
      [LongVLM, (value: never) => evaluate(value, { entries: [] } as never)],
    ] as const)
      for (const value of odd(Class)) await expect(refusal(value)).rejects.toThrow(/^Expected .* but received /);
    for (const value of odd(VideoFeatures)) expect(() => (value as unknown) instanceof VideoFeatures).not.toThrow();
    expect(odd(VideoFeatures).some((value) => (value as unknown) instanceof VideoFeatures)).toBe(false);
  });

  test('are no videos then, and a list of pictures has no holes', async () => {
    for (const Class of [URL, Blob, ReadableStream])
      for (const value of [...odd(Class), new Proxy(new Blob(['x']), {}) as never, revoked(() => {})])
        await expect(openVideo(value)).rejects.toThrow(/^Expected path, URL, .* for video but received /);
    await expect(openVideo({ frames: new Array(2) })).rejects.toThrow(/^Expected .* for video\.frames\[0\] but /);
    const iterator = (value: unknown) => ({ [Symbol.asyncIterator]: () => value }) as never;
    for (const value of [undefined, {}])
      await expect(openVideo(iterator(value))).rejects.toThrow(/^Expected .* stream/);
  });
});

test('a callback is a function that can be called', async () => {
  for (const onProgress of [class {}, revoked(() => {})])
    await expect(openVideo(new Uint8Array(8), { onProgress: onProgress as never })).rejects.toThrow(
      /^Expected function for onProgress but received a (class|Proxy)$/,
    );
});

test('an id of a reducer is made of what was checked; more frames than memory holds are refused', () => {
  let reads = 0;
  const changing = Object.defineProperty({}, 'a', { enumerable: true, get: () => (reads++ === 0 ? 2 : 2n) });
  expect(reducerId('mine', changing)).toBe('mine {"a":2}');
  expect(() => sampleFrameIndices(10, 2 ** 32)).toThrow(/^Expected integer between 1 and 16777216 for frames but /);
});
