// Times mergeTokens() beside the plain TypeScript implementation and what reading the tokens once takes.
//   npx tsc -p bench && node build/bench/bench/mergeTokens.bench.js
// LONGVLM_MAX_ISA and LONGVLM_NUM_THREADS choose the kernels and the threads.
import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus } from 'node:os';
import Benchmark from 'benchmark';
import { mergeSchedule, mergeTokens, poolClsTokens, type Tensor } from 'longvlm/kernels';
import { referenceMergeTokens } from '../test/kernels/reference.js';
import { type MergeTokensCase, mergeTokensCases, similarityFlops } from './cases.js';

function tensorOf({ type, segments, tokens, channels }: MergeTokensCase): Tensor {
  const length = segments * tokens * channels;
  const dims = [segments, tokens, channels];
  // 0x3800 to 0x3bff are the halves from 0.5 to 1; the other bit is the sign.
  if (type === 'float16')
    return {
      type,
      data: Uint16Array.from({ length }, () => (Math.random() * 0x400) | (Math.random() < 0.5 ? 0xb800 : 0x3800)),
      dims,
    };
  return { type, data: Float32Array.from({ length }, () => Math.random() - 0.5), dims };
}

/** Milliseconds of each call, measured by Benchmark. */
function time(name: string, work: () => unknown): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const benchmark = new Benchmark(name, {
      defer: true,
      minSamples: 20,
      maxTime: 3,
      fn: (deferred: { resolve(): void }) => {
        Promise.resolve(work()).then(() => deferred.resolve(), reject);
      },
      onError: () => reject(benchmark.error),
      onComplete: () => resolve(benchmark.stats.sample.map((seconds) => seconds * 1000)),
    });
    benchmark.run({ async: true });
  });
}

async function report(name: string, work: () => unknown, bytes: number, flops: number): Promise<void> {
  const samples = (await time(name, work)).sort((a, b) => a - b);
  const at = (share: number) => samples[Math.floor(share * (samples.length - 1))]!;
  const milliseconds = (value: number) => value.toFixed(value < 10 ? 2 : 1);
  const rates = [`${(bytes / at(0.5) / 1e6).toPrecision(3)} GB/s of input`];
  if (flops > 0) rates.push(`${(flops / at(0.5) / 1e6).toPrecision(3)} GFLOP/s`);
  console.log(
    `${name}: ${milliseconds(at(0.5))} ms (p10 ${milliseconds(at(0.1))}, p90 ${milliseconds(at(0.9))}, n ${samples.length}; ${rates.join(', ')})`,
  );
}

function commit(): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' }).trim();
  } catch {
    return 'unknown commit';
  }
}

const threads = process.env.LONGVLM_NUM_THREADS ?? availableParallelism();
const limit = process.env.LONGVLM_MAX_ISA ?? 'best instruction set';
console.log(`${cpus()[0]?.model}, ${threads} threads, ${limit}, Node ${process.version}, ${commit()}`);
for (const entry of mergeTokensCases) {
  const { name, type, segments, tokens, channels, heads, keep, plain } = entry;
  const input = tensorOf(entry);
  const bytes = input.data.byteLength;
  const shape = `[${input.dims.join(', ')}] ${type}, ${name}`;
  await report(`mergeTokens ${shape}`, () => mergeTokens(input, { heads, keep }), bytes, similarityFlops(entry));
  const asFrames = { ...input, dims: [tokens, segments, channels] };
  await report(`one read    ${shape}`, () => poolClsTokens(asFrames), bytes, 0);
  if (plain) {
    const rows = Array.from({ length: tokens }, (_, row) => [
      ...input.data.subarray(row * channels, (row + 1) * channels),
    ]);
    const schedule = mergeSchedule(tokens, keep);
    await report(
      `plain JS    ${shape}`,
      () => referenceMergeTokens(rows, heads, schedule),
      bytes,
      similarityFlops(entry),
    );
  }
}
