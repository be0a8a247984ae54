import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';

/** Three pipes of two ends, and what Node needs to start a process with them. */
const NEEDED = 10;

/**
 * Checks that there are descriptors for a new process. Node loses some for good where they run out while it starts one.
 *
 * @throws the operating system's error, EMFILE or ENFILE
 */
export function checkDescriptors(): void {
  const opened: number[] = [];
  try {
    while (opened.length < NEEDED) opened.push(openSync(devNull, 'r'));
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
}
