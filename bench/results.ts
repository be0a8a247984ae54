// What a measurement is, from the process that takes it to the table and the file.

/** Of `n` samples; NaN of none, which JSON writes as null. */
export type Summary = { readonly n: number; readonly median: number; readonly p10: number; readonly p90: number };

export type Unit = 'ms' | 'calls/s' | 'MiB';

/** How many times faster than the named baseline; null when that could not be measured. */
export type Baseline = { readonly baseline: string; readonly times: number | null };

export type Measurement = Summary & {
  /** What was measured: the function, or the name of a bound or baseline. */
  readonly what: string;
  readonly unit: Unit;
  /** Of the input, read once. */
  readonly gigabytesPerSecond?: number;
  /** Of the similarity products. */
  readonly gigaflopsPerSecond?: number;
  /** How many times the bound's time the median is, the median over the rounds. */
  readonly bound?: { readonly name: string; readonly ratio: number };
  readonly faster?: readonly Baseline[];
  readonly note?: string;
};

/** One result, complete in itself. */
export type Result = Measurement & {
  readonly group: string;
  readonly case: string;
  readonly cpu: string;
  /** Of our kernels; for PyTorch what it tells of itself. */
  readonly instructionSet: string;
  readonly threads: number;
  readonly node: string;
  readonly commit: string;
  /** Which share of the cores others took while the case ran; left out where the system does not tell. */
  readonly otherLoad?: number;
};

export function quantile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const below = sorted[Math.floor(at)]!;
  return below + (sorted[Math.ceil(at)]! - below) * (at - Math.floor(at));
}

export const median = (samples: readonly number[]): number => quantile(samples, 0.5);

export function summarize(samples: readonly number[]): Summary {
  if (samples.length === 0) throw new Error('there are no samples');
  return { n: samples.length, median: median(samples), p10: quantile(samples, 0.1), p90: quantile(samples, 0.9) };
}

/** In place of a measurement that cannot be taken here. */
export function notMeasured(what: string, unit: Unit, note: string): Measurement {
  return { what, unit, n: 0, median: Number.NaN, p10: Number.NaN, p90: Number.NaN, note };
}

/** The rates that go with a time in milliseconds; a rate of nothing is left out. */
export function rates(milliseconds: number, bytes: number, flops: number): Partial<Measurement> {
  return {
    ...(bytes > 0 && { gigabytesPerSecond: bytes / milliseconds / 1e6 }),
    ...(flops > 0 && { gigaflopsPerSecond: flops / milliseconds / 1e6 }),
  };
}
