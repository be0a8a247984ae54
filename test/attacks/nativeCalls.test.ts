// What the addon is given below the checks of the package: an error each time, and the process goes on.
import { describe, expect, test } from 'vitest';
import { binding } from '../../dist/binding.js';

class Planted extends Error {}
const planted = () => {
  throw new Planted('planted');
};

const right = () => ({
  ...{ merger: undefined, dims: [1, 6, 4], heads: 2, schedule: [2, 1], protect: 0, sizes: undefined },
  ...{ tokens: new Float32Array(24).fill(0.5), outTokens: new Float32Array(12) },
  ...{ outSizes: new Float32Array(3), outAssignment: new Int32Array(6) },
});
type Call = (args: unknown) => unknown;
const native = binding() as unknown as Record<string, Call>;

/** An object whose property gives `values` one after another. */
function reading(key: string, ...values: (() => unknown)[]): object {
  let reads = 0;
  return Object.defineProperty({ ...right() }, key, { get: () => (values[reads++] ?? planted)() });
}

describe('native calls', () => {
  for (const key of Object.keys(right()))
    test(`pass on what a getter of ${key} throws`, () => {
      for (const name of ['mergeTokens', 'mergeTokensSync'])
        expect(() => native[name]!(reading(key, planted))).toThrow(Planted);
    });

  test('pass on what the elements of a list throw', () => {
    for (const key of ['schedule', 'dims']) {
      const list = Object.defineProperty([1, 6, 4], 1, { get: planted });
      expect(() => native.mergeTokensSync!({ ...right(), [key]: list })).toThrow(Planted);
    }
  });

  test('read each property once', () => {
    for (const [key, value] of Object.entries(right()))
      expect(() => native.mergeTokensSync!(reading(key, () => value)), key).not.toThrow();
  });

  test('refuse values of any other kind', () => {
    const wrong = [
      null,
      true,
      -1,
      0.5,
      Number.NaN,
      2 ** 53,
      1n,
      Symbol('s'),
      'x',
      {},
      () => 1,
      new Date(),
      new DataView(new ArrayBuffer(8)),
    ];
    const { proxy, revoke } = Proxy.revocable([], {});
    revoke();
    wrong.push(Object.create(null), new Proxy([], {}), new Proxy(new Float32Array(24), {}), proxy as never);
    for (const key of Object.keys(right()))
      for (const value of wrong)
        expect(() => native.mergeTokensSync!({ ...right(), [key]: value }), `${key}: ${typeof value}`).toThrow(
          /^[\w[\]]+ is invalid: |^heads does not divide/,
        );
    for (const value of [undefined, ...wrong]) {
      if (typeof value === 'object' && value !== null) continue;
      for (const name of [
        'mergeTokens',
        'tokenMetric',
        'poolClsTokens',
        'disposeTokenMerger',
        'freeDeviceBuffer',
        'evaluateEmbeddings',
      ])
        if (typeof value !== 'function') expect(() => native[name]!(value)).toThrow(RangeError);
    }
  });

  test('refuse lists that are longer than any use, without reading them', () => {
    expect(() => native.mergeTokensSync!({ ...right(), schedule: new Array(2 ** 32 - 1) })).toThrow(
      'schedule is invalid',
    );
    expect(() => native.mergeTokensSync!({ ...right(), dims: new Array(2 ** 32 - 1) })).toThrow('dims is invalid');
  });

  test('see that a getter took the memory of an array that was read before', () => {
    for (const name of ['mergeTokens', 'mergeTokensSync']) {
      const args = right();
      const taking = Object.defineProperty({ ...args }, 'sizes', {
        get: () => void structuredClone(args.tokens.buffer, { transfer: [args.tokens.buffer] }),
      });
      expect(() => native[name]!(taking)).toThrow('tokens is invalid: its memory was taken away');
    }
  });

  test('refuse sizes whose product is beyond all numbers', () => {
    const args = {
      tensor: new Float32Array(4),
      dims: [1, 1, 4],
      assignment: new Int32Array(1),
      sizes: undefined,
      mean: true,
    };
    for (const slots of [2 ** 31, 2 ** 52, 2 ** 53 - 1])
      expect(() => native.mergeByAssignment!({ ...args, slots, out: new Float32Array(0) })).toThrow('slots is invalid');
  });

  test('refuse rows of a matrix that are not where they should be', () => {
    const args = {
      ...{ rows: new Uint8Array(16), type: 'float32', dims: [2, 5, 2], first: 3 },
      ...{ outValues: new Uint8Array(10), outScales: new Float32Array(5) },
    };
    const wrong = {
      rows: [new Uint8Array(15), new Uint8Array(17).subarray(1), new BigInt64Array(2)],
      type: ['int8', 'float16', undefined],
      dims: [
        [3, 5, 2],
        [2, 4, 2],
        [2, 5, 3],
        [1, 2 ** 31 - 1, 2 ** 31 - 1],
        [0, 5, 2],
      ],
      first: [4, -1, 2 ** 53 - 1],
      outValues: [new Uint8Array(9), undefined],
      outScales: [new Float32Array(4), new Int32Array(5)],
    };
    for (const [key, values] of Object.entries(wrong))
      for (const value of values)
        expect(() => native.roundToEightBits!({ ...args, [key]: value }), `${key}: ${value}`).toThrow('is invalid');
  });
});
