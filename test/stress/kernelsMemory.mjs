// Runs kernels on inputs that only they hold, with garbage collected in between; prints by how many bytes memory grew.
import { mergeTokens, mergeTokensSync } from '../../dist/kernels/index.js';

const options = { heads: 2, keep: 9 };

function tokens(fill) {
  return { type: 'float32', data: new Float32Array(25 * 1000 * 64).fill(fill), dims: [25, 1000, 64] };
}

async function round(calls) {
  for (let call = 0; call < calls; call++) {
    const controller = new AbortController();
    const works = [
      mergeTokens(tokens(call), options),
      mergeTokens(tokens(Number.NaN), options),
      mergeTokens(tokens(1), { ...options, signal: controller.signal }),
    ];
    gc();
    controller.abort();
    const outcomes = await Promise.allSettled(works);
    const expected = ['fulfilled', 'rejected', 'rejected'];
    if (outcomes.some(({ status }, index) => status !== expected[index])) throw new Error(JSON.stringify(outcomes));
    // Constant tokens merge to themselves: the input was intact although nothing in JavaScript held it.
    if (outcomes[0].value.tokens.data.some((value) => value !== call)) throw new Error('the input was lost');
    mergeTokensSync({ type: 'float32', data: new Float32Array(64), dims: [8, 8] }, { heads: 1, keep: 3 });
  }
  await new Promise((resolve) => setImmediate(resolve));
  gc();
  return process.memoryUsage();
}

const before = await round(4);
const after = await round(80);
console.log(JSON.stringify({ arrayBuffers: after.arrayBuffers - before.arrayBuffers, rss: after.rss - before.rss }));
