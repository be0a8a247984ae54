import { readFileSync } from 'node:fs';

type Ticks = { readonly all: number; readonly busy: number; readonly own: number };

/** CPU time of all cores since boot, and of this process with its awaited children; undefined without /proc. */
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
 * Starts measuring the CPU time of other processes, and of other virtual machines on the same hardware.
 *
 * @returns a function that returns their share of the cores so far, from 0 to 1; undefined if the system does not report it
 */
export function watchOtherLoad(): () => number | undefined {
  const before = ticks();
  return () => {
    const now = ticks();
    if (before === undefined || now === undefined || now.all === before.all) return undefined;
    return Math.max(0, (now.busy - before.busy - (now.own - before.own)) / (now.all - before.all));
  };
}
