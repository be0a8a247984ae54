// The types of measurements, for the process that takes them, the table and the file.

/** Statistics of `n` samples; NaN without samples, which JSON writes as null. */
export type Summary = { readonly n: number; readonly median: number; readonly p10: number; readonly p90: number };

export type Unit = 'ms' | 'calls/s' | 'MiB';

/** How many times faster than the named baseline; null when that could not be measured. */
export type Baseline = { readonly baseline: string; readonly times: number | null };

export type Measurement = Summary & {
  /** Name of the measured function, bound or baseline. */
  readonly what: string;
  readonly unit: Unit;
  /** Rate of the input, counted once. */
  readonly gigabytesPerSecond?: number;
  /** Rate of the similarity products. */
  readonly gigaflopsPerSecond?: number;
  /** The median over the rounds of the time divided by the bound's time. */
  readonly bound?: { readonly name: string; readonly ratio: number };
  readonly faster?: readonly Baseline[];
  readonly note?: string;
};

/** A self-contained result. */
export type Result = Measurement & {
  readonly group: string;
  readonly case: string;
  readonly cpu: string;
  /** Instruction set of our kernels; for PyTorch, the one that it reports. */
  readonly instructionSet: string;
  readonly threads: number;
  readonly node: string;
  readonly commit: string;
  /** Share of the cores that other processes used while the case ran; undefined if the system does not report it. */
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

/** Placeholder for a measurement that is not possible here. */
export function notMeasured(what: string, unit: Unit, note: string): Measurement {
  return { what, unit, n: 0, median: Number.NaN, p10: Number.NaN, p90: Number.NaN, note };
}

/** The rates for a time in milliseconds; rates of 0 are omitted. */
export function rates(milliseconds: number, bytes: number, flops: number): Partial<Measurement> {
  return {
    ...(bytes > 0 && { gigabytesPerSecond: bytes / milliseconds / 1e6 }),
    ...(flops > 0 && { gigaflopsPerSecond: flops / milliseconds / 1e6 }),
  };
}
