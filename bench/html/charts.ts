// Charts as rows of HTML, each with a picture in SVG whose positions are shares of its width: text keeps its size on any
// screen, and nothing runs in the browser.
import { escaped } from './escaped.js';

/** A bar, or the marks of a row. */
export type Mark = { readonly value: number; readonly kind: string; readonly text: string };

export type Row = {
  readonly label: string;
  /** The number of the machine, which has a colour. */
  readonly machine: number;
  readonly marks: readonly Mark[];
  /** What is written behind the row. */
  readonly told: string;
};

export type RowGroup = { readonly title: string; readonly rows: readonly Row[] };

type Scale = {
  /** Where a value is, from 0 to 100. */
  readonly at: (value: number) => number;
  readonly ticks: readonly { readonly value: number; readonly text: string }[];
};

function linear(shown: readonly number[]): Scale {
  const most = Math.max(1e-9, ...shown);
  const power = 10 ** Math.floor(Math.log10(most / 4));
  const step = power * [1, 2, 5, 10].find((factor) => most / (power * factor) <= 5)!;
  const values = Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => Number((i * step).toPrecision(6)));
  return { at: (value) => (value / most) * 100, ticks: values.map((value) => ({ value, text: String(value) })) };
}

/** Of milliseconds. */
function logarithmic(values: readonly number[]): Scale {
  const [low, high] = [Math.min(...values), Math.max(...values)].map(Math.log10) as [number, number];
  const [from, to] = [Math.floor(low * 2) / 2, Math.max(Math.ceil(high * 2) / 2, Math.floor(low * 2) / 2 + 1)];
  const powers = Array.from({ length: Math.floor(to) - Math.ceil(from) + 1 }, (_, i) => Math.ceil(from) + i);
  const ticks = powers.map((power) => ({ value: 10 ** power, text: duration(power) }));
  return { at: (value) => ((Math.log10(value) - from) / (to - from)) * 100, ticks };
}

function duration(power: number): string {
  const [unit, above] = power >= 3 ? ['s', power - 3] : power >= 0 ? ['ms', power] : ['µs', power + 3];
  return `${Number((10 ** above).toPrecision(3))} ${unit}`;
}

const percent = (share: number) => `${Number(share.toFixed(2))}%`;

const vertical = (kind: string, share: number) =>
  `<line class="${kind}" x1="${percent(share)}" x2="${percent(share)}" y2="100%"/>`;

function axis({ at, ticks }: Scale): string {
  const texts = ticks.map(({ value, text }) => {
    const share = at(value);
    const anchor = share < 4 ? 'start' : share > 96 ? 'end' : 'middle';
    return `<text x="${percent(share)}" y="12" text-anchor="${anchor}">${text}</text>`;
  });
  return `<div class="row axis" aria-hidden="true"><span class="label"></span><svg height="16">${texts.join('')}</svg><span></span></div>`;
}

function chart(groups: readonly RowGroup[], scale: Scale, one: boolean, drawn: (row: Row) => string): string {
  const grid = scale.ticks.map(({ value }) => vertical('grid', scale.at(value))).join('');
  const line = one ? vertical('one', scale.at(1)) : '';
  const body = groups.map(({ title, rows }) => {
    const lines = rows.map(
      (row) =>
        `<div class="row"><span class="label"><i class="swatch m${row.machine}"></i>${escaped(row.label)}</span>` +
        `<svg height="20" role="img" aria-label="${escaped(`${title}, ${row.label}: ${row.told}`)}">` +
        `${grid}${drawn(row)}${line}</svg><span class="told">${escaped(row.told)}</span></div>`,
    );
    return `<div class="rows"><h4>${escaped(title)}</h4>${lines.join('\n')}</div>`;
  });
  return `<div class="chart">${body.join('\n')}\n${axis(scale)}</div>`;
}

/** Bars from 0, one a row, with a line at 1 if `one`. */
export function bars(groups: readonly RowGroup[], one: boolean): string {
  const values = groups.flatMap(({ rows }) => rows.flatMap(({ marks }) => marks.map(({ value }) => value)));
  const scale = linear(one ? [...values, 1] : values);
  return chart(groups, scale, one, ({ machine, marks }) =>
    marks
      .map(
        ({ value, text }) =>
          `<rect class="bar m${machine}" y="4" height="12" rx="2" width="${percent(scale.at(value))}"><title>${escaped(text)}</title></rect>`,
      )
      .join(''),
  );
}

/** The shapes of marks, of about the same size, around 0. */
const shapes: Readonly<Record<string, string>> = {
  ours: 'M0-6A6 6 0 1 1 0 6A6 6 0 1 1 0-6Z',
  bound: 'M-1.5-9H1.5V9H-1.5Z',
  ...Object.fromEntries(
    ['M-5-5H5V5H-5Z', 'M0-6.5L6.5 0L0 6.5L-6.5 0Z', 'M0-6L6 5H-6Z', 'M-6-5H6L0 6Z', 'M-6 0A6 6 0 0 1 6 0Z'].map(
      (path, i) => [`reference${i}`, path],
    ),
  ),
};

/** How many references have a shape of their own. */
export const referenceShapes = 5;

const shape = (kind: string, machine: number, text: string) =>
  `<path class="mark ${kind.replace(/\d+$/, '')} m${machine}" d="${shapes[kind]}"><title>${escaped(text)}</title></path>`;

/** Marks on a logarithmic scale. */
export function dots(groups: readonly RowGroup[]): string {
  const scale = logarithmic(groups.flatMap(({ rows }) => rows.flatMap(({ marks }) => marks.map(({ value }) => value))));
  return chart(groups, scale, false, ({ machine, marks }) => {
    const shares = marks.map(({ value }) => scale.at(value));
    const line = `<line class="span m${machine}" x1="${percent(Math.min(...shares))}" x2="${percent(Math.max(...shares))}" y1="10" y2="10"/>`;
    // Ours in front.
    const sorted = marks.toSorted((a, b) => Number(a.kind === 'ours') - Number(b.kind === 'ours'));
    return `${line}${sorted.map(({ value, kind, text }) => `<svg x="${percent(scale.at(value))}" y="10" class="at">${shape(kind, machine, text)}</svg>`).join('')}`;
  });
}

/** What the marks mean. */
export function legend(names: readonly (readonly [kind: string, name: string])[]): string {
  const items = names.map(
    ([kind, name]) =>
      `<li><svg width="20" height="20" viewBox="-10 -10 20 20" aria-hidden="true">${shape(kind, 0, name)}</svg>${escaped(name)}</li>`,
  );
  return `<ul class="legend">${items.join('')}</ul>`;
}
