// The overhead of a call, and how long a long call blocks the main thread.
import { mergeTokens, mergeTokensSync, TokenMerger } from 'longvlm/kernels';
import { type MergeTokensCase, tinyCase } from './cases.js';
import { inputRing, inTurn, randomTensor } from './inputs.js';
import { interleave } from './interleave.js';
import { type Measurement, summarize } from './results.js';

const callsInSample = 320;
const atOnce = 16;

/** Calls per second on an input so small that the overhead of the call dominates. */
export async function benchCalls(quick: boolean): Promise<Measurement[]> {
  const { dims, heads, keep } = tinyCase;
  const tokens = randomTensor('float32', dims);
  const options = { heads, keep };
  const merger = new TokenMerger(options);
  const works = {
    mergeTokensSync: () => {
      for (let call = 0; call < callsInSample; call++) mergeTokensSync(tokens, options);
    },
    'mergeTokens, one by one': async () => {
      for (let call = 0; call < callsInSample; call++) await mergeTokens(tokens, options);
    },
    [`mergeTokens, ${atOnce} at once`]: async () => {
      for (let call = 0; call < callsInSample; call += atOnce)
        await Promise.all(Array.from({ length: atOnce }, () => mergeTokens(tokens, options)));
    },
    'TokenMerger.mergeSync': () => {
      for (let call = 0; call < callsInSample; call++) merger.mergeSync(tokens);
    },
    'TokenMerger.merge, one by one': async () => {
      for (let call = 0; call < callsInSample; call++) await merger.merge(tokens);
    },
  };
  const times = await interleave(works, { rounds: quick ? 3 : 12, samples: 3 });
  merger.dispose();
  return Object.entries(times).map(([what, rounds]) => ({
    what,
    unit: 'calls/s',
    ...summarize(rounds.flat().map((milliseconds) => (callsInSample / milliseconds) * 1000)),
  }));
}

/** The longest time between two turns of the event loop, with and without mergeTokens() running. */
export async function benchBlocking(
  { type, segments, tokens, channels, heads, keep }: MergeTokensCase,
  quick: boolean,
): Promise<Measurement[]> {
  const next = inTurn(inputRing(type, [segments, tokens, channels]));
  await mergeTokens(next(), { heads, keep });
  const calls: number[] = [];
  const during: number[] = [];
  const without: number[] = [];
  for (let round = 0; round < (quick ? 10 : 40); round++) {
    const start = performance.now();
    const call = () => {
      const tokensOfCall = next();
      const before = performance.now();
      const promise = mergeTokens(tokensOfCall, { heads, keep });
      calls.push(performance.now() - before);
      return promise;
    };
    during.push(await longestGap(call));
    const took = performance.now() - start;
    without.push(await longestGap(() => new Promise((resolve) => setTimeout(resolve, took))));
  }
  return [
    { what: 'the call itself, until it gives its promise', unit: 'ms', ...summarize(calls) },
    { what: 'longest gap during mergeTokens', unit: 'ms', ...summarize(during) },
    { what: 'longest gap of an idle loop, as long', unit: 'ms', ...summarize(without) },
  ];
}

/** Milliseconds between two turns of the event loop, including the turn that starts the work. */
async function longestGap(start: () => Promise<unknown>): Promise<number> {
  let done = false;
  let longest = 0;
  let last = performance.now();
  const settled = start().finally(() => {
    done = true;
  });
  while (!done) {
    await new Promise((resolve) => setImmediate(resolve));
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  }
  await settled;
  return longest;
}
