// Reducers that ignore the tokens' values: each new token is the mean of a span of old ones.
import { setImmediate } from 'node:timers/promises';
import { checkAllFinite } from '../base/largeTensor.js';
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import { checkInteger } from '../base/validate.js';
import { checkNoOptions } from './options.js';
import { type ReducedTokens, type Reducer, type ReducerKind, reducerId } from './reducer.js';

/** The span [from, to) of the `count` old tokens whose mean is the new token `index` of `keep`. */
type Span = (index: number, keep: number, count: number) => readonly [from: number, to: number];

// Number of values that are processed before yielding to the event loop.
const valuesAtOnce = 1 << 17;

/** A kind of reducer that averages spans. */
export function spanReducer(name: string, span: Span): ReducerKind {
  return {
    name,
    create({ tokensPerSegment: keep, options }): Reducer {
      checkNoOptions(name, options);
      return {
        name,
        id: reducerId(name, { tokensPerSegment: keep }),
        count: () => keep,
        check: ({ frames, patches }) => {
          checkInteger('tokensPerSegment', keep, 1, frames * patches);
        },
        reduce: (tokens, _, signal) => averageSpans(tokens, keep, span, signal),
      };
    },
  };
}

/** @param tokens [P, C]. @returns tokens [keep, C], summed in float64, sizes [keep], and positions where no span has several */
async function averageSpans(
  tokens: Float32Tensor,
  keep: number,
  span: Span,
  signal: AbortSignal | undefined,
): Promise<ReducedTokens> {
  const [count, channels] = tokens.dims as [number, number];
  const row = (index: number) => tokens.data.subarray(index * channels, (index + 1) * channels);
  const rowsAtOnce = Math.max(1, Math.floor(valuesAtOnce / channels));
  await checkAllFinite('tokens', tokens, 'Check the weights that they come from.');
  const reduced = new Float32Array(keep * channels);
  const sizes = new Float32Array(keep);
  const positions = new Int32Array(keep);
  const owners = new Int32Array(count).fill(-1);
  let sinceRest = 0;
  for (let i = 0; i < keep; i++) {
    const [from, to] = span(i, keep, count);
    const sums = new Float64Array(channels);
    for (let token = from; token < to; token++) {
      if (sinceRest++ % rowsAtOnce === 0) await pause(signal);
      const values = row(token);
      for (let channel = 0; channel < channels; channel++) sums[channel]! += values[channel]!;
    }
    sizes[i] = to - from;
    positions[i] = from;
    owners.fill(i, from, to);
    for (let channel = 0; channel < channels; channel++) reduced[i * channels + channel] = sums[channel]! / (to - from);
  }
  return {
    tokens: float32Tensor(reduced, [keep, channels]),
    sizes: float32Tensor(sizes, [keep]),
    ...(sizes.every((size) => size === 1) ? { positions } : { owners }),
  };
}

async function pause(signal: AbortSignal | undefined): Promise<void> {
  await setImmediate();
  signal?.throwIfAborted();
}
