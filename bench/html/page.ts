// Results of several machines as one page of HTML: charts, and behind them every number in tables. It loads nothing.
import { digits } from '../table.js';
import { bars, dots, legend, type Mark, type Row, type RowGroup, referenceShapes } from './charts.js';
import { escaped } from './escaped.js';
import { style } from './style.js';
import { type Entry, grouped, isEntry, type MachineResults, type Numbers, type Timing, type Value } from './timings.js';

const colours = 6;

/** The page. @param results of one machine each, in the order of their colours */
export function page(results: readonly MachineResults[]): string {
  const machines = [...new Set(results.map(({ machine }) => machine))];
  const numberOf = (machine: string) => machines.indexOf(machine) % colours;
  const timings = results.flatMap((each) => each.timings);
  const sections = [
    section('times', 'Times', times(timings, numberOf)),
    section('bound', 'Over the bound', overBounds(timings, numberOf)),
    section('pytorch', 'Times as fast', timesAsFast(timings, numberOf)),
    section('tokens', 'Kept tokens and error', errors(timings, numberOf)),
    section('more', 'More measurements', moreFigures(results, numberOf)),
    section('numbers', 'All numbers', allNumbers(results)),
  ].filter((each) => each !== undefined);
  const links = sections.map(({ id, title }) => `<a href="#${id}">${title}</a>`).join(' ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>longvlm: benchmarks</title>
<style>${style}</style>
</head>
<body>
<h1>longvlm: benchmarks</h1>
<p>Medians of results in <code>bench/results</code>. What is measured, and how, is in <code>docs/benchmarks.md</code>. Point at a
mark to see its number; all numbers are in tables at the end.</p>
<nav>${links}</nav>
<div class="machines">${results.map((each) => card(each, numberOf(each.machine))).join('\n')}</div>
${sections.map(({ id, title, body }) => `<section id="${id}"><h2>${title}</h2>\n${body}</section>`).join('\n')}
</body>
</html>
`;
}

type NumberOf = (machine: string) => number;

function section(id: string, title: string, body: string): { id: string; title: string; body: string } | undefined {
  return body === '' ? undefined : { id, title, body };
}

function card({ machine, file, about }: MachineResults, number: number): string {
  // What has parts has a line for each of them.
  const flat = (entry: Entry): [string, Value][] =>
    Object.entries(entry).flatMap(([key, value]) => (isEntry(value) ? flat(value) : [[key, value]]));
  const lines = flat({ file, ...about }).map(([key, value]) => `<dt>${escaped(key)}</dt><dd>${shown(value)}</dd>`);
  return `<div class="card m${number}"><h3>${escaped(machine)}</h3><dl>${lines.join('')}</dl></div>`;
}

const milliseconds = (value: number) => `${digits(value)} ms`;
const titleOf = ({ method, shape }: Timing) => (shape.startsWith(method) ? shape : `${method} ${shape}`);

/** A reference without its version, which differs from machine to machine. */
const plainName = (name: string) => name.replace(/ \d[\w.+]*/, '');

function times(timings: readonly Timing[], numberOf: NumberOf): string {
  const compared = timings.filter(({ bound, references }) => bound || references.length > 0);
  return [...grouped(compared, ({ group }) => group)]
    .map(([group, entries]) => {
      const names = [...new Set(entries.flatMap(({ references }) => references.map(({ name }) => plainName(name))))];
      const kindOf = (name: string) => `reference${names.indexOf(plainName(name)) % referenceShapes}`;
      const rows = toGroups(entries, titleOf, (timing): Row => {
        const { machine, time, bound, references } = timing;
        const marks: Mark[] = [
          { kind: 'ours', value: time, text: `${timing.method}: ${milliseconds(time)}` },
          ...(bound
            ? [{ kind: 'bound', value: time / bound.ratio, text: `${bound.name}: ${milliseconds(time / bound.ratio)}` }]
            : []),
          ...references.map(({ name, times }) => ({
            kind: kindOf(name),
            value: times * time,
            text: `${name}: ${milliseconds(times * time)}`,
          })),
        ];
        return { label: machine, machine: numberOf(machine), marks, told: milliseconds(time) };
      });
      const kinds = [['ours', 'longvlm'], ['bound', 'bound'], ...names.map((name) => [kindOf(name), name])] as [
        string,
        string,
      ][];
      return `<h3>${escaped(group)}</h3><p>Milliseconds on a logarithmic scale: further left is faster.</p>${legend(kinds)}${dots(rows)}`;
    })
    .join('\n');
}

function overBounds(timings: readonly Timing[], numberOf: NumberOf): string {
  const bounded = timings.flatMap((timing) => (timing.bound ? [{ ...timing, over: timing.bound }] : []));
  return [...grouped(bounded, ({ group, over }) => `${group}: bound of ${over.name}`)]
    .map(([title, entries]) => {
      const rows = toGroups(entries, titleOf, ({ machine, over: { ratio } }): Row => {
        const told = `${digits(ratio)} ×`;
        return {
          label: machine,
          machine: numberOf(machine),
          marks: [{ kind: 'ours', value: ratio, text: told }],
          told,
        };
      });
      return `<h3>${escaped(title)}</h3><p>The time divided by the bound's. At 1, the dashed line, nothing is left to gain: shorter is better.</p>${bars(rows, true)}`;
    })
    .join('\n');
}

function timesAsFast(timings: readonly Timing[], numberOf: NumberOf): string {
  const pairs = timings.flatMap((timing) =>
    timing.references.map(({ name, times }) => {
      const reference = /pytorch/i.test(name) ? 'PyTorch' : plainName(name);
      return { ...timing, name, times, reference };
    }),
  );
  return [...grouped(pairs, ({ group, reference }) => `${group}: than ${reference}`)]
    .map(([title, entries]) => {
      const rows = toGroups(entries, titleOf, ({ machine, name, times, reference }): Row => {
        const told = `${digits(times)} ×`;
        const detail = plainName(name).replace(/^PyTorch, /, '');
        const label = detail === reference ? machine : `${detail}: ${machine}`;
        return { label, machine: numberOf(machine), marks: [{ kind: 'ours', value: times, text: told }], told };
      });
      return `<h3>${escaped(title)}</h3><p>The other's time divided by ours. At 1, the dashed line, both are as fast: longer is better.</p>${bars(rows, true)}`;
    })
    .join('\n');
}

function errors(timings: readonly Timing[], numberOf: NumberOf): string {
  // The same on all machines.
  const same = grouped(timings, ({ shape, method, kept }) => `${shape} ${method} ${kept}`);
  const reducing = [...same.values()].flatMap(([timing]) =>
    timing?.error === undefined ? [] : [{ ...timing, error: timing.error }],
  );
  if (reducing.length === 0) return '';
  const rows = toGroups(
    reducing,
    ({ shape }) => shape,
    ({ machine, method, error, kept }): Row => {
      const told = digits(error);
      const label = kept === undefined ? method : `${method}, ${kept} tokens`;
      return { label, machine: numberOf(machine), marks: [{ kind: 'ours', value: error, text: told }], told };
    },
  );
  return `<p>The error of all tokens, each taken for the kept token most similar to it: |x - kept| / |x|. Shorter is better at the same number of tokens.</p>${bars(rows, false)}`;
}

function moreFigures(results: readonly MachineResults[], numberOf: NumberOf): string {
  const figures = results.flatMap((each) => each.figures);
  return [...grouped(figures, ({ group, unit }) => `${group}, in ${unit}`)]
    .map(([title, entries]) => {
      const rows = toGroups(
        entries,
        ({ shape }) => shape,
        ({ machine, what, value, unit }): Row => {
          const told = digits(value);
          const label = new Set(entries.map((entry) => entry.machine)).size > 1 ? `${what}: ${machine}` : what;
          return { label, machine: numberOf(machine), marks: [{ kind: 'ours', value, text: `${told} ${unit}` }], told };
        },
      );
      return `<h3>${escaped(title)}</h3>${bars(rows, false)}`;
    })
    .join('\n');
}

function toGroups<T>(entries: readonly T[], title: (entry: T) => string, row: (entry: T) => Row): RowGroup[] {
  return [...grouped(entries, title)].map(([name, members]) => ({ title: name, rows: members.map(row) }));
}

function allNumbers(results: readonly MachineResults[]): string {
  return results
    .map(({ machine, file, numbers }) => {
      const tables = numbers.map(
        ({ title, rows }) =>
          `<details><summary>${escaped(title)}: ${rows.length} rows</summary><div class="wide">${table({ title, rows })}</div></details>`,
      );
      return `<h3>${escaped(machine)} <small>(${escaped(file)})</small></h3>${tables.join('\n')}`;
    })
    .join('\n');
}

function table({ rows }: Numbers): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const head = columns.map((name) => `<th scope="col">${escaped(name)}</th>`).join('');
  const body = rows.map((row) => `<tr>${columns.map((name) => `<td>${shown(row[name])}</td>`).join('')}</tr>`);
  return `<table><thead><tr>${head}</tr></thead><tbody>${body.join('\n')}</tbody></table>`;
}

/** A value as HTML: numbers with three digits, and all of them for programs. */
function shown(value: Value | undefined): string {
  if (value === undefined) return '';
  if (value === null) return '–';
  if (typeof value === 'number')
    return `<data value="${value}">${Number.isInteger(value) ? value : digits(value)}</data>`;
  if (Array.isArray(value)) return value.map(shown).join('<br>');
  if (!isEntry(value)) return escaped(String(value));
  return Object.entries(value)
    .map(([key, part]) => `${escaped(key)} ${shown(part)}`)
    .join(', ');
}
