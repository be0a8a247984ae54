import Benchmark from 'benchmark';

/** Milliseconds of each call of `work`, measured by Benchmark with one call per sample. */
function sample(name: string, work: () => unknown, samples: number): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const benchmark = new Benchmark(name, {
      defer: true,
      delay: 0,
      minSamples: samples,
      maxTime: 0,
      // Shorter than one call, so that no sample is a mean over several calls.
      minTime: 1e-6,
      fn: (deferred: { resolve(): void }) => {
        Promise.resolve(work()).then(() => deferred.resolve(), reject);
      },
      onError: () => reject(benchmark.error),
      onComplete: () => resolve(benchmark.stats.sample.slice(0, samples).map((seconds) => seconds * 1000)),
    });
    benchmark.run({ async: true });
  });
}

export type Rounds = { readonly rounds: number; readonly samples: number };

/**
 * Calls each of `works` in turn, `samples` times a round, so that a temporary slowdown of the machine affects all of them.
 * The first round is a warm-up and not counted.
 *
 * @returns for each work the milliseconds, `[rounds][samples]`
 */
export async function interleave<Works extends Record<string, () => unknown>>(
  works: Works,
  { rounds, samples }: Rounds,
): Promise<{ [Name in keyof Works]: number[][] }> {
  const times = new Map<string, number[][]>(Object.keys(works).map((name) => [name, []]));
  for (let round = -1; round < rounds; round++) {
    for (const [name, work] of Object.entries(works)) {
      const milliseconds = await sample(name, work, round < 0 ? 1 : samples);
      if (round >= 0) times.get(name)!.push(milliseconds);
    }
  }
  return Object.fromEntries(times) as { [Name in keyof Works]: number[][] };
}
