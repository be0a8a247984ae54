#!/usr/bin/env node
// It imports one file, as it is to speak where there are few descriptors.
import { descriptorCause } from '../base/descriptors.js';

// Node opens many of a program's files at once, and ends where it cannot: what is wrong is said here.
try {
  await import('./program.js');
} catch (error) {
  const cause = descriptorCause(error);
  if (!cause) throw error;
  process.stderr.write(`longvlm: ${cause.join('. ')}\n`);
  process.exitCode = 1;
}
