// The copies that the emulated device writes down.
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Bytes of each copy, the largest first. */
export type Copies = { readonly up: number[]; readonly down: number[]; readonly across: number[] };

/** Does `work` and counts its copies, in a file in `folder`. */
export async function copiesOf<T>(folder: string, work: () => T | Promise<T>): Promise<{ result: T } & Copies> {
  const log = join(folder, randomUUID());
  process.env.LV_EMULATED_COPIES = log;
  try {
    const result = await work();
    const text = await readFile(log, 'utf8').catch(() => '');
    const lines = text.split('\n').map((line) => line.split(' '));
    const bytes = (way: string) =>
      lines
        .filter(([of]) => of === way)
        .map(([, count]) => Number(count))
        .sort((a, b) => b - a);
    return { result, up: bytes('up'), down: bytes('down'), across: bytes('across') };
  } finally {
    delete process.env.LV_EMULATED_COPIES;
  }
}

/** What a kernel tells of the data that it found: so many bytes come down for each. */
export const reportBytes = 16;
