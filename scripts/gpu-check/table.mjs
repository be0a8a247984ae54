// The results as a short table in Markdown.

const rounded = (number) => (Number.isInteger(number) ? String(number) : number.toPrecision(3));

function short(value) {
  if (typeof value === 'number') return rounded(value);
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([key, part]) => `${key} ${short(part)}`)
    .join(', ');
}

/** Each step, how it ended, and what it found. */
export function asTable({ card, emulated, date, machine, steps }) {
  const rows = Object.entries(steps).flatMap(([name, { status, reason, found }]) => {
    const ending = status === 'passed' ? status : `${status}: ${(reason ?? '').split('\n')[0]}`;
    return [
      `| ${name} | ${ending} |`,
      ...Object.entries(found ?? {}).map(([key, value]) => `| ${name}: ${key} | ${short(value)} |`),
    ];
  });
  const title = emulated ? `${card}: NO GPU, NO TIMES` : `${card}, driver ${machine.driver}, ${date.slice(0, 10)}`;
  return [`# ${title}`, '', '| step | found |', '| --- | --- |', ...rows, ''].join('\n');
}
