// What the page shows, read from three forms of results: of npm run bench, of scripts/gpu-check, and lines of JSON.
import { basename } from 'node:path';

/** A number or text of a file, or several. */
export type Value = string | number | boolean | null | readonly Value[] | { readonly [key: string]: Value };
export type Entry = { readonly [key: string]: Value };

/** The time of a method, and what it is compared with. Times are in milliseconds. */
export type Timing = {
  readonly machine: string;
  readonly group: string;
  readonly shape: string;
  readonly method: string;
  readonly time: number;
  readonly bound: { readonly name: string; readonly ratio: number } | undefined;
  /** How many times as long each reference takes. */
  readonly references: readonly { readonly name: string; readonly times: number }[];
  /** Of a method that keeps tokens: how many, and the relative error of the others by those. */
  readonly kept: number | undefined;
  readonly error: number | undefined;
};

/** A measurement that is compared with nothing. */
export type Figure = {
  readonly machine: string;
  readonly group: string;
  readonly shape: string;
  readonly what: string;
  readonly unit: string;
  readonly value: number;
};

/** All numbers of a part of a file, one row each. */
export type Numbers = { readonly title: string; readonly rows: readonly Entry[] };

/** A file of results. */
export type MachineResults = {
  readonly machine: string;
  readonly file: string;
  readonly about: Entry;
  readonly timings: readonly Timing[];
  readonly figures: readonly Figure[];
  readonly numbers: readonly Numbers[];
};

/** The file cannot be shown; the message is one line. */
export class ResultsError extends Error {}

/**
 * Reads a file of results. Lines of JSON have `shape`, `method` and `milliseconds`; and, where there are any, `bound`
 * { name, milliseconds }, `references` [{ name, milliseconds }], `kept`, `error`, `group`, `cpu`, `instructionSet`,
 * `threads`; and whatever else the table shall show.
 * @throws ResultsError
 */
export function readResults(file: string, text: string): MachineResults {
  const name = basename(file);
  const values = parsed(name, text);
  const [first] = values;
  if (values.length === 1 && isEntry(first)) {
    if (Array.isArray(first.results) && first.results.every(isResult)) return ofBench(name, first, first.results);
    if (isEntry(first.steps) && typeof first.card === 'string') return ofGpu(name, first, first.card, first.steps);
  }
  if (values.length > 0 && values.every(isLine)) return ofLines(name, values);
  throw new ResultsError(
    `${name} holds no results: expected what npm run bench or scripts/gpu-check saved, or lines of JSON with shape, method and milliseconds. Remove it, or name other files.`,
  );
}

function parsed(name: string, text: string): Value[] {
  const tried = [
    () => [JSON.parse(text)],
    () =>
      text
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line)),
  ];
  for (const parse of tried)
    try {
      return parse() as Value[];
    } catch {}
  throw new ResultsError(`${name} is no JSON. Remove it, or name other files.`);
}

/** Whether a value has named parts. */
export const isEntry = (value: Value | undefined): value is Entry =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isNumber = (value: Value | undefined): value is number => typeof value === 'number';
const textOf = (value: Value | undefined, otherwise: string): string => (typeof value === 'string' ? value : otherwise);

/** Those of `entry` that are there. */
function listOf(values: Value | undefined): readonly Entry[] {
  return Array.isArray(values) ? values.filter(isEntry) : [];
}

type BenchResult = Entry & Readonly<Record<'group' | 'case' | 'what' | 'unit', string>>;
const isResult = (value: Value): value is BenchResult =>
  isEntry(value) && [value.group, value.case, value.what, value.unit].every((text) => typeof text === 'string');

type Line = Entry & { readonly shape: string; readonly method: string; readonly milliseconds: number };
const isLine = (value: Value): value is Line =>
  isEntry(value) && typeof value.shape === 'string' && typeof value.method === 'string' && isNumber(value.milliseconds);

function nameOf(entry: Entry | undefined, file: string): string {
  const { cpu, instructionSet, threads } = entry ?? {};
  if (typeof cpu !== 'string') return file.replace(/\.jsonl?$/, '');
  return [cpu, instructionSet, isNumber(threads) ? `${threads} threads` : undefined].filter(Boolean).join(', ');
}

/** The properties that all entries have in common; a case's load of other processes is its own. */
function common(entries: readonly Entry[]): Entry {
  const [first = {}] = entries;
  const shared = Object.entries(first).filter(
    ([key, value]) =>
      !isNumber(value) && entries.every((entry) => JSON.stringify(entry[key]) === JSON.stringify(value)),
  );
  return Object.fromEntries(shared);
}

function without(entry: Entry, keys: readonly string[]): Entry {
  return Object.fromEntries(Object.entries(entry).filter(([key]) => !keys.includes(key)));
}

function byGroup(entries: readonly Entry[], common: Entry): Numbers[] {
  const groups = grouped(entries, ({ group }) => textOf(group, ''));
  const told = [...Object.keys(common), 'group'];
  return [...groups].map(([title, rows]) => ({ title, rows: rows.map((row) => without(row, told)) }));
}

/** As `Map.groupBy()`, which Node 20 lacks. */
export function grouped<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    groups.set(key, [...(groups.get(key) ?? []), item]);
  }
  return groups;
}

function ofBench(file: string, document: Entry, results: readonly BenchResult[]): MachineResults {
  const ours = results.find(({ bound }) => bound !== undefined) ?? results[0];
  const machine = nameOf(ours, file);
  const timings: Timing[] = [];
  const figures: Figure[] = [];
  const compared = new Set<string>();
  for (const result of results) {
    const { group, case: shape, what, unit, median, bound, faster } = result;
    const references = listOf(faster).flatMap(({ baseline, times }) =>
      typeof baseline === 'string' && isNumber(times) ? [{ name: baseline, times }] : [],
    );
    const isBound = isEntry(bound) && typeof bound.name === 'string' && isNumber(bound.ratio);
    if (!isNumber(median) || unit !== 'ms' || !isBound) continue;
    compared.add(`${group} ${shape}`);
    const over = { name: bound.name as string, ratio: bound.ratio as number };
    timings.push({
      ...{ machine, group, shape, method: what, time: median, bound: over, references },
      ...{ kept: undefined, error: undefined },
    });
  }
  for (const { group, case: shape, what, unit, median } of results)
    if (isNumber(median) && !compared.has(`${group} ${shape}`))
      figures.push({ machine, group, shape, what, unit, value: median });
  const shared = common(results);
  const about = { ...without(document, ['results']), ...shared };
  return { machine, file, about, timings, figures, numbers: byGroup(results, shared) };
}

function ofLines(file: string, lines: readonly Line[]): MachineResults {
  const machine = nameOf(lines[0], file);
  const timings = lines.map(({ group, shape, method, milliseconds, bound, references, kept, error }): Timing => {
    const isBound = isEntry(bound) && isNumber(bound.milliseconds) && bound.milliseconds > 0;
    return {
      ...{ machine, group: textOf(group, 'methods'), shape, method, time: milliseconds },
      bound: isBound
        ? { name: textOf(bound.name, 'the bound'), ratio: milliseconds / (bound.milliseconds as number) }
        : undefined,
      references: listOf(references).flatMap(({ name, milliseconds: theirs }) =>
        typeof name === 'string' && isNumber(theirs) ? [{ name, times: theirs / milliseconds }] : [],
      ),
      kept: isNumber(kept) ? kept : undefined,
      error: isNumber(error) ? error : undefined,
    };
  });
  const shared = common(lines);
  return { machine, file, about: shared, timings, figures: [], numbers: byGroup(lines, shared) };
}

const short: Readonly<Record<string, string>> = { f16: 'float16', f32: 'float32' };

// "[10,2560,1024] f32 merge_tokens", and "PyTorch [10,2560,1024] float32, all segments at once".
function ofGpu(file: string, document: Entry, card: string, steps: Entry): MachineResults {
  const found = Object.entries(steps).flatMap(([step, content]) =>
    isEntry(content) ? [{ step, content, found: isEntry(content.found) ? content.found : {} }] : [],
  );
  const timed = Object.entries(found.find(({ step }) => step === 'timings')?.found ?? {});
  const shapeOf = (dims: string, type: string) => `${dims.replaceAll(',', ', ')} ${short[type] ?? type}`;
  const theirs = timed.flatMap(([name, entry]) => {
    const [, who, dims, type, how] = /^(PyTorch) (\[.*?\]) (\w+), (.*)$/.exec(name) ?? [];
    if (!who || !isEntry(entry) || !isNumber(entry.medianUs)) return [];
    return [{ shape: shapeOf(dims!, type!), name: `${who}, ${how}`, time: entry.medianUs / 1000 }];
  });
  const timings: Timing[] = [];
  for (const [name, entry] of timed) {
    const [, dims, type, method] = /^(\[.*?\]) (f16|f32) (\w+)$/.exec(name) ?? [];
    if (!method || !isEntry(entry) || !isNumber(entry.medianUs)) continue;
    const [shape, time] = [shapeOf(dims!, type!), entry.medianUs / 1000];
    const ratio = entry.timesTwoReads;
    timings.push({
      ...{ machine: card, group: 'on a GPU', shape, method, time },
      bound: isNumber(ratio) && ratio > 0 ? { name: '2 reads', ratio } : undefined,
      references:
        method === 'merge_tokens'
          ? theirs
              .filter((their) => their.shape === shape)
              .map((their) => ({ name: their.name, times: their.time / time }))
          : [],
      ...{ kept: undefined, error: undefined },
    });
  }
  const numbers = found.map(({ step, content, found }) => ({
    title: step,
    rows: [
      without(content, ['found']),
      ...Object.entries(found).map(([what, value]) => ({ what, ...(isEntry(value) ? value : { value }) })),
    ],
  }));
  return { machine: card, file, about: without(document, ['steps']), timings, figures: [], numbers };
}
