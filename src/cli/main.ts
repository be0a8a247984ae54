#!/usr/bin/env node
import { MORE_DESCRIPTORS } from '../base/fileError.js';

// Node opens many of a program's files at once, and ends where it cannot: what is wrong is said here.
try {
  await import('./program.js');
} catch (error) {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'EMFILE' && code !== 'ENFILE') throw error;
  process.stderr.write(`longvlm: This process has too many files open. ${MORE_DESCRIPTORS}\n`);
  process.exitCode = 1;
}
