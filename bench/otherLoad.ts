import { readFileSync } from 'node:fs';

type Ticks = { readonly all: number; readonly busy: number; readonly own: number };

/** Of all cores since the start, and of this process and the ones that it has waited for; undefined without /proc. */
function ticks(): Ticks | undefined {
  try {
    const [user, nice, system, idle, waiting, irq, softirq, stolen] = readFileSync('/proc/stat', 'utf8')
      .split('\n', 1)[0]!
      .split(/\s+/)
      .slice(1)
      .map(Number) as [number, number, number, number, number, number, number, number];
    const busy = user + nice + system + irq + softirq + stolen;
    // After the name in brackets: the state, 10 fields, then user and system time of the process and of its children.
    const fields = readFileSync('/proc/self/stat', 'utf8').split(') ').at(-1)!.split(' ').slice(11, 15).map(Number);
    return { all: busy + idle + waiting, busy, own: fields.reduce((sum, field) => sum + field, 0) };
  } catch {
    return undefined;
  }
}

/**
 * Starts to watch what other processes, or other machines on the same hardware, take of the cores.
 *
 * @returns tells which share of the cores that was until now, between 0 and 1; undefined where the system does not tell
 */
export function watchOtherLoad(): () => number | undefined {
  const before = ticks();
  return () => {
    const now = ticks();
    if (before === undefined || now === undefined || now.all === before.all) return undefined;
    return Math.max(0, (now.busy - before.busy - (now.own - before.own)) / (now.all - before.all));
  };
}
