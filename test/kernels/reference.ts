// Token merging as the method is written down, level by level on whole tokens, in plain loops and float64: what the
// kernels are checked against and what benchmarks call the plain implementation.
// The metric and its normalised rows are rounded to float32, so that tokens merged from equal tokens compare equal.

/** One segment: rows of channels. */
export type Rows = readonly (readonly number[])[];

export type ReferenceMatch = {
  /** Rows of A, most similar first. */
  readonly order: readonly number[];
  /** For each row of A the row of B most similar to it. */
  readonly partner: readonly number[];
};

export type ReferenceMerge = {
  readonly tokens: Rows;
  readonly sizes: readonly number[];
  readonly assignment: readonly number[];
};

function metricOf(token: readonly number[], heads: number): number[] {
  const dims = token.length / heads;
  const metric = Array.from({ length: dims }, (_, k) => {
    let sum = 0;
    for (let head = 0; head < heads; head++) sum += token[head * dims + k]!;
    return Math.fround(sum / heads);
  });
  let square = 0;
  for (const value of metric) square += value * value;
  const length = Math.sqrt(square);
  return metric.map((value) => (length === 0 ? 0 : Math.fround(value / length)));
}

/** Equal rows have similarity 1 and others less, whatever rounding makes of it. */
function cosine(a: readonly number[], b: readonly number[]): number {
  let dot = 0;
  for (let k = 0; k < a.length; k++) dot += a[k]! * b[k]!;
  if (Math.abs(dot - 1) > 1e-5) return dot;
  return a.every((value, k) => value === b[k]) ? 1 : Math.min(dot, 1 - 2 ** -24);
}

/** Who is most similar to whom: the even rows are A, the odd ones B. */
export function referenceMatch(tokens: Rows, heads: number): ReferenceMatch {
  const metric = tokens.map((token) => metricOf(token, heads));
  const a = metric.filter((_, index) => index % 2 === 0);
  const b = metric.filter((_, index) => index % 2 === 1);
  const partner: number[] = [];
  const similarities: number[] = [];
  for (const row of a) {
    let best = 0;
    let highest = Number.NEGATIVE_INFINITY;
    for (let j = 0; j < b.length; j++) {
      const similarity = cosine(row, b[j]!);
      if (similarity > highest) {
        highest = similarity;
        best = j;
      }
    }
    partner.push(best);
    similarities.push(highest);
  }
  const order = a.map((_, index) => index).sort((x, y) => similarities[y]! - similarities[x]! || x - y);
  return { order, partner };
}

/** Merges one segment by a schedule. */
export function referenceMergeTokens(input: Rows, heads: number, schedule: readonly number[]): ReferenceMerge {
  let tokens = input.map((token) => [...token]);
  let sizes = tokens.map(() => 1);
  let members = tokens.map((_, index) => [index]);
  for (const wanted of schedule) {
    const r = Math.min(wanted, Math.floor(tokens.length / 2));
    if (r === 0) continue;
    const { order, partner } = referenceMatch(tokens, heads);
    for (const row of order.slice(0, r)) {
      const from = 2 * row;
      const into = 2 * partner[row]! + 1;
      const size = sizes[from]! + sizes[into]!;
      tokens[into] = tokens[into]!.map((value, c) => (value * sizes[into]! + tokens[from]![c]! * sizes[from]!) / size);
      sizes[into] = size;
      members[into]!.push(...members[from]!);
    }
    const left = order.slice(r).map((row) => 2 * row);
    for (let odd = 1; odd < tokens.length; odd += 2) left.push(odd);
    tokens = left.map((index) => tokens[index]!);
    sizes = left.map((index) => sizes[index]!);
    members = left.map((index) => members[index]!);
  }
  const assignment = new Array<number>(input.length);
  for (const [slot, indices] of members.entries()) for (const index of indices) assignment[index] = slot;
  return { tokens, sizes, assignment };
}
