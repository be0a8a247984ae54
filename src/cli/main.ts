#!/usr/bin/env node
import { DESCRIPTOR_CAUSES } from '../base/fileError.js';

// Node opens many of a program's files at once, and ends where it cannot: what is wrong is said here.
try {
  await import('./program.js');
} catch (error) {
  const { code } = error as NodeJS.ErrnoException;
  const known = DESCRIPTOR_CAUSES[code ?? ''];
  if (!known) throw error;
  process.stderr.write(`longvlm: ${known[0]}. ${known[1]}\n`);
  process.exitCode = 1;
}
