// Any JavaScript value, and those that are not what they look like.
import vm from 'node:vm';
import { binding } from '../package.js';
import type { Random } from '../random.js';
import { Planted } from '../target.js';

const realm = vm.createContext({});
const inRealm = (code: string) => vm.runInContext(code, realm) as unknown;

function planted(): never {
  throw new Planted('planted');
}

const throwingGetter = () =>
  new Proxy(
    {},
    { get: planted, has: planted, ownKeys: planted, getOwnPropertyDescriptor: planted, getPrototypeOf: planted },
  );

/** A value whose answer changes from one read to the next, and ends in an error. */
export function fickle(values: readonly unknown[]): PropertyDescriptor {
  let read = 0;
  return { enumerable: true, configurable: true, get: () => (read < values.length ? values[read++] : planted()) };
}

function detached(): Float32Array {
  const array = new Float32Array(8);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

function revoked(target: object): unknown {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

type Maker = (random: Random) => unknown;
// Newer than the language that this is compiled for.
const Resizable = ArrayBuffer as unknown as new (length: number, options: object) => ArrayBuffer;
const resizable = (length: number) => new Resizable(length, { maxByteLength: 256 });

const values: readonly Maker[] = [
  () => undefined,
  () => null,
  (random) => random.chance(0.5),
  (random) => random.edge(),
  (random) => -random.edge(),
  (random) => random.pick([Number.NaN, Number.POSITIVE_INFINITY, -0, 0.5, 1e300]),
  (random) => BigInt(random.edge()),
  () => Symbol('symbol'),
  (random) =>
    random.pick(['', 'auto', 'cpu', 'cuda', 'float32', 'crop', 'merge', 'x'.repeat(1000), '\u0000', '\ud800']),
  () => [],
  () => ({}),
  () => () => 1,
  () => class {},
  () => new Date(Number.NaN),
  () => Object.create(null),
  () => ({ toString: planted, valueOf: planted }),
  () => ({ toString: () => ({}), valueOf: () => ({}) }),
  () => ({
    get constructor() {
      return planted();
    },
  }),
  () => ({ constructor: null }),
  () => ({ constructor: { name: Symbol('name') } }),
  throwingGetter,
  () => revoked({}),
  () => revoked([]),
  () => revoked(() => {}),
  () => new Proxy([], {}),
  () => new Proxy(new Float32Array(4), {}),
  () => Object.create(new Float32Array(4)),
  () => Object.create(Float32Array.prototype),
  () => Object.create(AbortSignal.prototype),
  () => Object.defineProperty([1, 2, 3], 1, { get: planted }),
  () => Object.assign([1], { 2: 3 }),
  () => ({ length: 2 ** 32, 0: 1 }),
  (random) => new Array(random.pick([3, 5, 1000])).fill(random.edge()),
  (random) => Array.from({ length: random.below(4) }, () => random.edge()),
  (random) => new Float32Array(random.below(20)),
  (random) => new Uint16Array(random.below(20)),
  (random) => new Int32Array(random.below(20)),
  (random) => new Uint8Array(random.below(20)),
  () => new Float64Array(8),
  () => new BigInt64Array(8),
  () => new DataView(new ArrayBuffer(8)),
  () => new ArrayBuffer(32),
  () => Buffer.alloc(8),
  detached,
  () => new Float32Array(new SharedArrayBuffer(32)),
  () => new Float32Array(resizable(32)),
  () => {
    const buffer = resizable(64);
    const array = new Float32Array(buffer, 32, 8);
    (buffer as unknown as { resize(length: number): void }).resize(16);
    return array;
  },
  () => inRealm('new Float32Array(8).fill(1)'),
  () => inRealm('new Int32Array(8)'),
  () => inRealm('[1, 2, 3]'),
  () => inRealm('({})'),
  () => inRealm('new Proxy({}, {})'),
  () => new AbortController().signal,
  () => AbortSignal.abort(new Planted('planted')),
  () => new URL('file:///nowhere'),
  () => new Blob(['x']),
  () => Promise.resolve(1),
  () => binding().createTokenMerger(),
];

export const anyValue: Maker = (random) => random.pick(values)(random);
