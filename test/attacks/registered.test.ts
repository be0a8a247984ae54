// Families, reducers and layouts of the user's: what was checked is what is called, and what they give is checked.
import { afterAll, describe, expect, test } from 'vitest';
import {
  GraphBuilder,
  Projector,
  type ProjectorSource,
  type Reducer,
  registerProjector,
  registerPromptTemplate,
  registerReducer,
  registerTower,
  type TowerSource,
  VideoChat,
  VisionEncoder,
} from '../../dist/index.js';
import { LanguageModel } from '../../dist/llm/model.js';
import { resolvePromptTemplate } from '../../dist/llm/templates.js';
import { makeReducer } from '../../dist/reduce/reducers.js';
import { pico } from '../fixtures/index.js';

const none = async () => undefined;
const path = pico.clip;
afterAll(() => {
  registerTower({ name: 'odd', open: none });
  registerProjector({ name: 'odd', open: none });
});

function revoked(target: object): never {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy as never;
}

const tower = (): TowerSource => ({
  config: {
    ...{ imageSize: 8, patches: 4, grid: [2, 2], channels: 6, summaries: 0, heads: 2 },
    ...{ mean: [0, 0, 0], std: [1, 1, 1], rescale: 1, resize: 'squash', shortestEdge: 8 },
  },
  ...{ details: {}, description: 'odd', tensors: [], linear: [] },
  graph: none as never,
});
const projector = (): ProjectorSource => ({
  ...{ kind: 'odd', inChannels: 1, outChannels: 1, tensors: [] },
  graph: none as never,
});

test.each([
  ['a class', class {}],
  ['a proxy that was revoked', revoked(() => {})],
  ['nothing', undefined],
])('%s is no function of what is registered', (_, open) => {
  const wrong = { name: 'odd', open, create: open, system: '', firstTurn: open, nextTurn: open } as never;
  expect(() => registerTower(wrong)).toThrow(/^Expected function for family\.open but received /);
  expect(() => registerProjector(wrong)).toThrow(/^Expected function for family\.open but received /);
  expect(() => registerReducer(wrong)).toThrow(/^Expected function for kind\.create but received /);
  expect(() => registerPromptTemplate(wrong)).toThrow(/^Expected function for layout\.firstTurn but received /);
});

test('what changes afterwards is not called, and methods keep their object', async () => {
  class Family {
    readonly name = 'odd';
    readonly #opened: string[] = [];
    open = async (file: string) => {
      this.#opened.push(file);
      return undefined;
    };
    namesIn(): string[] {
      return this.#opened;
    }
    get opened(): readonly string[] {
      return this.#opened;
    }
  }
  const family = new Family();
  registerTower(family);
  family.open = 1 as never;
  const encoder = await VisionEncoder.create({ path, lazy: true });
  await encoder.dispose();
  expect(family.opened).toEqual([path]);

  let reads = 0;
  const layout = { name: 'odd', system: 'Look.', firstTurn: () => [], nextTurn: () => [] };
  Object.defineProperty(layout, 'system', { get: () => (reads++ === 0 ? 'Look.' : 1) });
  registerPromptTemplate(layout);
  expect(resolvePromptTemplate('odd').system).toBe('Look.');
});

describe('what a family opens is checked', () => {
  test.each<[string, unknown, RegExp]>([
    ['a number', 1, /^Expected object for what the tower family odd opened but received 1/],
    ['an empty object', {}, /^Expected object for what the tower family odd opened\.config but/],
    [
      'no patches',
      { ...tower(), config: { ...tower().config, patches: 0 } },
      /^Expected positive integer for .*patches/,
    ],
    [
      'a grid of fewer patches',
      { ...tower(), config: { ...tower().config, grid: [2, 1] } },
      /^Expected rows and columns of 4 patches for .*\.config\.grid but received '2x1'/,
    ],
    [
      'channels that are not the rows of its projection',
      { ...tower(), projection: { kind: 'odd', width: 6, rows: 3 } },
      /^Expected 3 rows of projection\.width \(6\) for .*\.config\.channels but received 6/,
    ],
    ['no place', { ...tower(), tensors: [{ name: 'x' }] }, /^Expected non-empty string for .*\.tensors\[0\]\.type but/],
    ['no plain data', { ...tower(), description: { version: 1n } }, /^Expected plain data, .*\.description but/],
    ['no graph', tower(), /^Expected object for what the tower family odd opened\.graph\(\) but received undefined$/],
    ['a revoked proxy', revoked({}), /^Expected a value for what family\.open\(\) gave but received a Proxy$/],
  ])('a tower: %s', async (_, source, message) => {
    registerTower({ name: 'odd', open: () => source as never });
    const refusal = VisionEncoder.create({ path });
    await expect(refusal).rejects.toThrow(message);
    await expect(refusal).rejects.toSatisfy((error) => error instanceof TypeError || error instanceof RangeError);
    registerTower({ name: 'odd', open: none });
  });

  test.each<[string, unknown, RegExp]>([
    ['an empty object', {}, /^Expected non-empty string for what the projector family odd opened\.kind but/],
    ['no tensors', { ...projector(), tensors: undefined }, /^Expected array for .* opened\.tensors but/],
    ['no graph', projector(), /^Expected object for what the projector family odd opened\.graph\(\) but/],
  ])('a projector: %s', async (_, source, message) => {
    registerProjector({ name: 'odd', open: () => source as never });
    await expect(Projector.load(pico.projector)).rejects.toThrow(message);
    registerProjector({ name: 'odd', open: none });
  });
});

test('a tower that says to give more than memory can hold', async () => {
  const graph = new GraphBuilder('odd');
  const pixels = graph.input('pixels', ['n', 8, 8, 3], 'uint8');
  graph.output('patches', graph.node('Cast', [pixels], { to: 1 }), ['n', 'rows', 6]);
  const model = await graph.build();
  const config = { ...tower().config, patches: 2 ** 40, grid: [1, 2 ** 40] as const };
  registerTower({ name: 'odd', open: async () => ({ ...tower(), config, graph: async () => model }) });
  const encoder = await VisionEncoder.create({ path, lazy: true });
  try {
    await expect(encoder.encodeSegment(new Uint8Array(8 * 8 * 3), { tokensPerSegment: 1 })).rejects.toMatchObject({
      code: 'ERR_LONGVLM_UNSUPPORTED',
      message: expect.stringMatching(/^The vision tower would give \[1, 1099511627776, 6\] values at once/) as unknown,
    });
  } finally {
    await encoder.dispose();
    registerTower({ name: 'odd', open: none });
  }
});

test('what a kind of reducer creates is checked', () => {
  registerReducer({ name: 'odd', create: () => ({}) as Reducer });
  expect(() => makeReducer('odd', { tokensPerSegment: 1, mergeHeads: 1 })).toThrow(
    'Expected non-empty string for what the reducer kind odd created.id but received undefined',
  );
});

test('what a layout gives is checked', async () => {
  const model = await LanguageModel.load({ path: pico.llm, device: 'cpu', lazy: true });
  try {
    for (const [pieces, message] of [
      [undefined, /^Expected array for the pieces of the prompt layout odd but received undefined$/],
      [[null, { video: 'all' }], /^Expected text, special, .* for a piece of the prompt layout odd but received null$/],
      [[{ video: 'all' }, { special: 1n }], /^Expected non-empty string for a piece .*\.special but received 1 /],
      [[{ video: 'all' }, { tokens: [0.5] }], /^Expected integer of at least 0 for a piece .*\.tokens\[0\] but/],
    ] as const) {
      const template = { name: 'odd', system: '', firstTurn: () => pieces as never, nextTurn: () => [] };
      expect(() => VideoChat.checkFits(model, 4, 'what?', { template })).toThrow(message);
    }
  } finally {
    await model.dispose();
  }
});
