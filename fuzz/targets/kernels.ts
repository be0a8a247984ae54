// Kernels beside a plain definition: any shape, schedule and values, synchronous, asynchronous and by a TokenMerger.
import { type MergedTokens, mergeTokens, mergeTokensSync, type Tensor, TokenMerger } from 'longvlm/kernels';
import { definedAssignment } from '../../test/kernels/definition.js';
import type { Random } from '../random.js';
import { type Target, WrongResult } from '../target.js';

// The kernels compute in float64 and round at the end: to float32 half a unit in the last place, 2^-24 of the value.
const tolerance = 2 ** -22;

function valuesFor(length: number, random: Random): Float32Array {
  const kind = random.below(6);
  const values = new Float32Array(length);
  for (let i = 0; i < length; i++) {
    const value = random.next() * 2 - 1;
    values[i] =
      kind === 0 ? random.below(3) - 1 : kind === 1 ? 0.5 : kind === 2 ? value * 10 ** random.between(-12, 12) : value;
  }
  if (kind === 3) for (let i = 0; i < length; i += random.between(1, 9)) values[i] = 0;
  return values;
}

type Case = {
  readonly tensor: Tensor;
  readonly options: { heads: number; protect?: number; keep?: number; schedule?: number[] };
  readonly sizes: Tensor | undefined;
  readonly schedule: readonly number[];
};

function makeCase(random: Random): Case {
  const segments = random.pick([1, 1, 2, 3]);
  const tokens = random.pick([1, 2, 3, 5, 8, 17, 31, 32, 33, 64, 65, 100]);
  const heads = random.pick([1, 1, 2, 3, 4]);
  const channels = heads * random.pick([1, 2, 3, 7, 8, 9, 16, 17, 33]);
  const data = valuesFor(segments * tokens * channels, random);
  const protect = random.chance(0.3) ? random.below(tokens + 1) : 0;
  const schedule = Array.from({ length: random.below(5) }, () =>
    random.pick([0, 1, 2, 5, tokens >> 1, tokens, 2 ** 40]),
  );
  const sizes = random.chance(0.3)
    ? {
        type: 'float32' as const,
        data: Float32Array.from({ length: segments * tokens }, () => random.between(1, 9)),
        dims: [segments, tokens],
      }
    : undefined;
  return {
    tensor: { type: 'float32', data, dims: [segments, tokens, channels] },
    options: { heads, protect, schedule },
    schedule,
    sizes,
  };
}

async function merged({ tensor, options, sizes }: Case, random: Random): Promise<MergedTokens> {
  const call = sizes && { sizes };
  switch (random.below(4)) {
    case 0:
      return mergeTokensSync(tensor, { ...options, ...call } as never);
    case 1:
      return await mergeTokens(tensor, { ...options, ...call } as never);
    default: {
      const merger = new TokenMerger(options as never);
      try {
        return random.chance(0.5) ? merger.mergeSync(tensor, call) : await merger.merge(tensor, call);
      } finally {
        merger.dispose();
      }
    }
  }
}

function check({ tensor, options, sizes, schedule }: Case, result: MergedTokens): void {
  const [segments, tokens, channels] = tensor.dims as [number, number, number];
  const kept = result.tokens.dims[1]!;
  for (let segment = 0; segment < segments; segment++) {
    const data = tensor.data.subarray(segment * tokens * channels, (segment + 1) * tokens * channels);
    const weights = Float32Array.from({ length: tokens }, (_, i) => sizes?.data[segment * tokens + i] ?? 1);
    const wanted = definedAssignment(data, {
      tokens,
      heads: options.heads,
      schedule,
      protect: options.protect ?? 0,
      sizes: weights,
    });
    const assignment = result.assignment.subarray(segment * tokens, (segment + 1) * tokens);
    if (wanted.some((slot, token) => slot !== assignment[token]))
      throw new WrongResult(`tokens are in ${[...assignment]}, not in ${[...wanted]}`);
    const sums = new Float64Array(kept * channels);
    const scale = new Float64Array(kept * channels);
    const total = new Float64Array(kept);
    for (let token = 0; token < tokens; token++) {
      const slot = wanted[token]!;
      total[slot]! += weights[token]!;
      for (let c = 0; c < channels; c++) {
        const value = data[token * channels + c]! * weights[token]!;
        sums[slot * channels + c]! += value;
        scale[slot * channels + c]! += Math.abs(value);
      }
    }
    for (let slot = 0; slot < kept; slot++) {
      if (result.sizes.data[segment * kept + slot] !== Math.fround(total[slot]!))
        throw new WrongResult(`size of token ${slot}`);
      for (let c = 0; c < channels; c++) {
        const at = slot * channels + c;
        const difference = Math.abs(result.tokens.data[segment * kept * channels + at]! - sums[at]! / total[slot]!);
        if (!(difference <= (tolerance * scale[at]!) / total[slot]! + 1e-44))
          throw new WrongResult(`value ${at} of segment ${segment} is ${difference} off`);
      }
    }
  }
}

export const kernels: Target = {
  name: 'kernels',
  ...{ batch: 1000, seconds: 10, megabytes: 1500, share: 1, argumentErrors: true },
  async run(_, random) {
    const made = makeCase(random);
    const wrong = random.chance(0.15);
    if (wrong)
      made.tensor.data[random.below(made.tensor.data.length)] = random.pick([Number.NaN, Number.POSITIVE_INFINITY]);
    let result: MergedTokens;
    try {
      result = await merged(made, random);
    } catch (error) {
      if (wrong || !isOfValues(error)) throw error;
      throw new WrongResult(`finite values are refused: ${(error as Error).message}`);
    }
    if (wrong) throw new WrongResult('values that are not finite are merged');
    check(made, result);
  },
};

const isOfValues = (error: unknown) => (error as { code?: unknown }).code === 'ERR_LONGVLM_NOT_FINITE';
