// Whatever a program passes, the error is one about its arguments: none of Node's own about what was done with them.
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import {
  FeaturesCache,
  type Float32Tensor,
  frameGeometry,
  GraphBuilder,
  mergeTokens,
  mergeTokensSync,
  openWeights,
  probeVideo,
  readDataset,
  requireTensor,
  savePredictions,
  scoreAnswer,
  selectFrames,
  VideoChat,
  VideoFeatures,
} from '../../dist/index.js';
import { pico } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

const data = Float32Array.from({ length: 32 }, (_, index) => Math.sin(index));
const tensor: Float32Tensor = { type: 'float32', data, dims: [8, 4] };
const options = { heads: 2, keep: 5 };

const odd: readonly (readonly [string, unknown])[] = [
  ['null', null],
  ['no prototype', Object.create(null)],
  ['a list of such', [Object.create(null)]],
  ['a symbol', Symbol('s')],
  ['a list of symbols', [Symbol('s')]],
  ['a bigint', 1n],
  ['a number', Number.NaN],
  ['a proxy of an array', new Proxy(new Float32Array(4), {})],
  ['a class without a name', { constructor: null }],
  ['a class with another name', { constructor: { name: Symbol('s') } }],
  ['a class that throws', Object.defineProperty({}, 'constructor', { get: () => expect.fail('told') })],
];

describe.each(odd)('%s', (_, value) => {
  const any = value as never;
  test.each<readonly [string, () => unknown]>([
    ['a tensor', () => mergeTokensSync(any, options)],
    ['its data', () => mergeTokensSync({ ...tensor, data: any }, options)],
    ['its dims', () => mergeTokensSync({ ...tensor, dims: any }, options)],
    ['an answer', () => scoreAnswer(any, 'x', 'x')],
    ['a file of weights', () => openWeights(any)],
    ['a tensor of weights', async () => requireTensor(await openWeights(pico.projector), 'x', any)],
    ['a file with weights', () => requireTensor(any, 'x', [1])],
    ['predictions', () => savePredictions('/nowhere/x.json', any)],
    ['rules of pixels', () => frameGeometry(any)],
    ['a mean colour', () => frameGeometry({ resize: 'crop', mean: any } as never)],
    ['a video', () => selectFrames(any, { frames: 1, segmentFrames: 1 })],
    [
      'a duration',
      async () =>
        selectFrames({ ...(await probeVideo(pico.video)), durationSeconds: any }, { frames: 1, segmentFrames: 1 }),
    ],
    ['a model', () => VideoChat.checkFits(any, 1, 'x')],
    ['a tower', () => VideoFeatures.load('/nowhere', { tower: any })],
    ['a request', async () => (await FeaturesCache.open(await temporaryFolder())).featuresOf(any, any)],
    ['an operator', () => new GraphBuilder('g').node(any, ['x'])],
    ['its inputs', () => new GraphBuilder('g').node('Add', any)],
    ['its attributes', () => new GraphBuilder('g').node('Add', ['x'], { a: any })],
    ['a constant', () => new GraphBuilder('g').scalar(any)],
    ['constants', () => new GraphBuilder('g').floats(any, [1])],
    ['sizes', () => new GraphBuilder('g').input('x', any)],
  ])('as %s', async (_, call) => {
    // Some of these are right in some places: a number as a size, or a list of anything as predictions.
    const error: unknown = await (async () => call())().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (error !== undefined) expect(String(error)).toMatch(/^(Type|Range)Error: Expected |^LongVLMError: /);
  });
});

test.each<readonly [string, () => Promise<unknown>]>([
  ['savePredictions()', () => savePredictions('a\0b', [])],
  ['readDataset()', () => readDataset('a.jsonl', null as never)],
  ['VideoFeatures.load()', () => VideoFeatures.load('a', null as never)],
])('%s says what is wrong', async (_, call) => {
  await expect(call()).rejects.toThrow(/Expected object for options but received null|a path cannot hold a zero byte/);
});

test('arrays of another realm are as good as any', async () => {
  const other = runInNewContext('Float32Array.from(values)', { values: [...data] }) as Float32Array;
  expect(other).not.toBeInstanceOf(Float32Array);
  const wanted = mergeTokensSync(tensor, options);
  expect(mergeTokensSync({ ...tensor, data: other }, options)).toEqual(wanted);
  expect(await mergeTokens({ ...tensor, data: other }, options)).toEqual(wanted);
});
