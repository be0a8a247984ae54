import type { Result, Unit } from './results.js';

// Threads that wait for each other lose far more time than the share of the cores that other processes take.
const worthTelling = 0.05;

type Column = {
  readonly title: (unit: Unit) => string;
  readonly cell: (result: Result) => string;
  readonly left?: true;
};

const columns: readonly Column[] = [
  { title: () => '', cell: ({ what }) => what, left: true },
  { title: (unit) => `median ${unit}`, cell: ({ n, median }) => (n > 0 ? digits(median) : '-') },
  { title: () => 'p10–p90', cell: ({ n, p10, p90 }) => (n > 1 ? `${digits(p10)}–${digits(p90)}` : '') },
  { title: () => 'n', cell: ({ n }) => (n > 0 ? String(n) : '') },
  { title: () => 'GB/s', cell: ({ gigabytesPerSecond: rate }) => (rate === undefined ? '' : digits(rate)) },
  { title: () => 'GFLOP/s', cell: ({ gigaflopsPerSecond: rate }) => (rate === undefined ? '' : digits(rate)) },
  { title: () => 'over bound', cell: ({ bound }) => (bound ? `${digits(bound.ratio)} × (${bound.name})` : '') },
  { title: () => 'faster than', cell: fasterThan, left: true },
];

function fasterThan({ faster = [] }: Result): string {
  return faster
    .map(({ baseline, times }) => (times === null ? `no ${baseline}` : `${digits(times)} × ${baseline}`))
    .join(', ');
}

/** Three significant figures, but all digits of the integer part. */
export function digits(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** The results of one case as a table under its name, without empty columns. */
export function table(results: readonly Result[]): string {
  const [first] = results;
  if (first === undefined) return '';
  const used = columns.filter(({ cell }) => results.some((result) => cell(result) !== ''));
  const rows = [
    used.map(({ title }) => title(first.unit)),
    ...results.map((result) => used.map(({ cell }) => cell(result))),
  ];
  const widths = used.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    row
      .map((text, column) => (used[column]!.left ? text.padEnd(widths[column]!) : text.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
  const notes = results.flatMap(({ what, note }) => (note === undefined ? [] : [`${what}: ${note}`]));
  if ((first.otherLoad ?? 0) > worthTelling)
    notes.push(`Others took ${((first.otherLoad ?? 0) * 100).toFixed(0)} % of the cores meanwhile: do not quote this.`);
  const head = `${first.group}: ${first.case}  (${first.instructionSet})`;
  return [head, ...[...lines, ...notes].map((line) => `  ${line}`)].join('\n');
}
