// What crash.mjs and crash-batch.mjs share: chance that can be repeated, and what killed processes leave.
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';

/** Mulberry32. */
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What crashed processes leave. */
export function litter(place) {
  return readdirSync(place, { recursive: true }).filter((name) =>
    /\.(tmp|lock|incomplete|unfinished\.jsonl)$/.test(name),
  );
}

/**
 * Waits for processes to end, for a while on a busy machine: those that have `place` as their LONGVLM_CRASH, or on their command line.
 * @returns those still there, which are ended now
 */
export async function orphans(place) {
  if (process.platform !== 'linux') return [];
  for (let look = 0; ; look++) {
    const found = readdirSync('/proc').flatMap((id) => {
      try {
        if (!/^\d+$/.test(id)) return [];
        const command = readFileSync(`/proc/${id}/cmdline`, 'latin1').replaceAll('\0', ' ');
        const isOurs = readFileSync(`/proc/${id}/environ`, 'latin1').includes(`LONGVLM_CRASH=${place}\0`);
        return isOurs || command.includes(place) ? [{ id: Number(id), command }] : [];
      } catch {
        return [];
      }
    });
    if (found.length === 0) return [];
    if (look < 50) await setTimeout(100);
    else {
      for (const { id } of found)
        try {
          process.kill(id, 'SIGKILL');
        } catch {
          // It has just ended.
        }
      return found.map(({ command }) => command);
    }
  }
}
