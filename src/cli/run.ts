// Shared by all commands: stopping on Ctrl-C, one line for a failure, the exit code.
import { descriptorCause } from '../base/descriptors.js';
import { isErrorOf, LongVLMError, messageOf } from '../base/errors.js';
import { escaped } from '../base/printable.js';

/** Exit codes: 1 for a failure, 2 for wrong usage, 128 + the signal's number after a signal. */
const exitCodes = { failure: 1, usage: 2, SIGINT: 130, SIGTERM: 143 } as const;

class Interrupted extends Error {
  readonly exitCode: number;
  constructor(signal: 'SIGINT' | 'SIGTERM') {
    super('Interrupted');
    this.exitCode = exitCodes[signal];
  }
}

/**
 * Runs a command with an AbortSignal that aborts on Ctrl-C or SIGTERM, and turns an error into a line on stderr and an exit
 * code.
 */
export async function run(command: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController();
  const onSignal = (signal: NodeJS.Signals) => controller.abort(new Interrupted(signal as 'SIGINT' | 'SIGTERM'));
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  process.stdout.on('error', onOutputError);
  // What is told beside an answer is not worth failing for.
  process.stderr.on('error', () => {});
  try {
    await command(controller.signal);
  } catch (error) {
    process.exitCode = exitCodeOf(error);
    if (!(error instanceof Interrupted)) process.stderr.write(`longvlm: ${lineOf(error)}\n`);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}

function onOutputError(error: NodeJS.ErrnoException): void {
  // A closed pipe (`longvlm … | head`) is not a failure.
  if (error.code === 'EPIPE') process.exit(0);
  const line = `Standard output cannot be written: ${messageOf(error)}. Check what it was redirected to.`;
  process.stderr.write(`longvlm: ${line}\n`, () => process.exit(exitCodes.failure));
}

function exitCodeOf(error: unknown): number {
  if (error instanceof Interrupted) return error.exitCode;
  return isErrorOf(error, 'TypeError', 'RangeError') ? exitCodes.usage : exitCodes.failure;
}

function lineOf(error: unknown): string {
  // Whatever was being opened: also what Node loads of its own.
  const cause = descriptorCause(error);
  if (cause) return cause.join('. ');
  const line = escaped(messageOf(error).replace(/\s*\n\s*/g, ' '));
  const known = error instanceof LongVLMError || isErrorOf(error, 'TypeError', 'RangeError');
  return known ? line : `unexpected failure: ${line}`;
}

/** Rounds to whole milliseconds, for reports. */
export function milliseconds(value: number): number {
  return Math.round(value);
}
