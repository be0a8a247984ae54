// The decisions of token merging as they are defined, number for number: what every instruction set has to give exactly,
// also where similarities are equal or differ in the last bit. reference.ts says the same in plain float64 on whole
// tokens, and agrees wherever similarities are apart.

/** One segment. */
export type DefinitionOptions = {
  readonly tokens: number;
  readonly heads: number;
  readonly schedule: readonly number[];
  readonly protect?: number;
  readonly sizes?: ArrayLike<number>;
};

const float64 = new Float64Array(1);
const words = new Uint32Array(float64.buffer);

/** a · b + c in float32, rounded once. */
export function fusedMultiplyAdd(a: number, b: number, c: number): number {
  const product = a * b; // exact
  const sum = product + c;
  float64[0] = sum;
  // Halfway between two float32, and perhaps only because the sum was rounded to float64: what was lost decides.
  if ((words[0]! & 0x1fffffff) === 0x10000000) {
    const high = sum - product;
    const lost = product - (sum - high) + (c - high);
    return Math.fround(sum + Math.sign(lost) * Math.abs(sum) * 2 ** -50);
  }
  return Math.fround(sum);
}

/** A row scaled to length 1, in float32; zeros stay. */
function normalize(mean: Float32Array): Float32Array {
  const squares = [0, 0, 0, 0];
  const whole = mean.length - (mean.length % 4);
  for (const [k, value] of mean.entries()) squares[k < whole ? k % 4 : 0]! += value * value;
  const square = squares[0]! + squares[1]! + (squares[2]! + squares[3]!);
  const scale = square > 0 ? 1 / Math.sqrt(square) : 0;
  return mean.map((value) => value * scale);
}

type Match = { readonly similarity: number; readonly place: number };

function bestMatch(a: Float32Array, rows: readonly Float32Array[], places: readonly number[]): Match {
  let best: Match = { similarity: Number.NEGATIVE_INFINITY, place: -1 };
  const isZero = a.every((value) => value === 0);
  for (const place of places) {
    const b = rows[place]!;
    let sum = 0;
    for (let k = 0; k < a.length; k++) sum = fusedMultiplyAdd(a[k]!, b[k]!, sum);
    if (!isZero && sum > 0.9 && a.every((value, k) => value === b[k])) return { similarity: 1, place };
    if (sum > best.similarity) best = { similarity: sum, place };
  }
  return { similarity: Math.min(best.similarity, 1 - 2 ** -24), place: best.place };
}

/** Where each token of one segment goes, `tokens` × `heads * dims` values in `data`. */
export function definedAssignment(data: ArrayLike<number>, options: DefinitionOptions): Int32Array {
  const { tokens, heads, schedule, protect = 0 } = options;
  const dims = data.length / tokens / heads;
  let sizes = Array.from({ length: tokens }, (_, token) => options.sizes?.[token] ?? 1);
  let sums = sizes.map((size, token) =>
    Float64Array.from({ length: dims }, (_, k) => {
      let sum = 0;
      for (let head = 0; head < heads; head++) sum += data[(token * heads + head) * dims + k]!;
      return Math.fround(sum / heads) * size;
    }),
  );
  const assignment = Int32Array.from({ length: tokens }, (_, token) => token);
  for (const wanted of schedule) {
    const left = sums.length;
    const r = Math.min(wanted, Math.floor((left - protect) / 2));
    if (r === 0) continue;
    const rows = sums.map((sum, place) => normalize(Float32Array.from(sum, (value) => value / sizes[place]!)));
    const places = Array.from({ length: left - protect }, (_, index) => protect + index);
    const a = places.filter((place) => place % 2 === 0);
    const b = places.filter((place) => place % 2 === 1);
    const matches = new Map(a.map((place) => [place, bestMatch(rows[place]!, rows, b)]));
    const order = [...a].sort(
      (x, y) => matches.get(y)!.similarity - matches.get(x)!.similarity || x - y, // -0 - 0 is 0
    );
    const kept = [...Array(protect).keys(), ...order.slice(r), ...b];
    const slotOf = new Map(kept.map((place, slot) => [place, slot]));
    for (const place of order.slice(0, r)) slotOf.set(place, slotOf.get(matches.get(place)!.place)!);
    const nextSums = kept.map(() => new Float64Array(dims));
    const nextSizes = kept.map(() => 0);
    for (let place = 0; place < left; place++) {
      const slot = slotOf.get(place)!;
      nextSizes[slot]! += sizes[place]!;
      for (let k = 0; k < dims; k++) nextSums[slot]![k]! += sums[place]![k]!;
    }
    for (const [token, place] of assignment.entries()) assignment[token] = slotOf.get(place)!;
    sums = nextSums;
    sizes = nextSizes;
  }
  return assignment;
}
