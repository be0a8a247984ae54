// Dates as Python writes them in the C locale, which transformers gives to templates.

const english = (options: Intl.DateTimeFormatOptions) => {
  const format = new Intl.DateTimeFormat('en-US', options);
  return (date: Date) => format.format(date);
};
const padded = (value: number, length = 2) => String(value).padStart(length, '0');
const hour12 = (date: Date) => date.getHours() % 12 || 12;
const dayOfYear = (date: Date) =>
  Math.round(
    (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 0)) / 864e5,
  );

const parts: Readonly<Record<string, (date: Date) => string>> = {
  Y: (date) => padded(date.getFullYear(), 4),
  y: (date) => padded(date.getFullYear() % 100),
  m: (date) => padded(date.getMonth() + 1),
  d: (date) => padded(date.getDate()),
  e: (date) => String(date.getDate()).padStart(2),
  B: english({ month: 'long' }),
  b: english({ month: 'short' }),
  h: english({ month: 'short' }),
  A: english({ weekday: 'long' }),
  a: english({ weekday: 'short' }),
  H: (date) => padded(date.getHours()),
  I: (date) => padded(hour12(date)),
  M: (date) => padded(date.getMinutes()),
  S: (date) => padded(date.getSeconds()),
  p: (date) => (date.getHours() < 12 ? 'AM' : 'PM'),
  j: (date) => padded(dayOfYear(date), 3),
  w: (date) => String(date.getDay()),
  F: (date) => strftime(date, '%Y-%m-%d'),
  D: (date) => strftime(date, '%m/%d/%y'),
  T: (date) => strftime(date, '%H:%M:%S'),
  R: (date) => strftime(date, '%H:%M'),
  '%': () => '%',
};

/** `date` in local time by a format of strftime(); `%-d` leaves out leading zeros. Unknown parts stay as they are. */
export function strftime(date: Date, format: string): string {
  return format.replace(/%(-?)([A-Za-z%])/g, (whole, bare: string, name: string) => {
    const text = Object.hasOwn(parts, name) ? parts[name]!(date) : whole;
    return bare ? text.replace(/^[0 ]+(?=.)/, '') : text;
  });
}
