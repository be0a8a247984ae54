import { descriptorCause } from '../base/descriptors.js';
import { LongVLMError, messageOf } from '../base/errors.js';
import { printable } from '../base/printable.js';

const CAUSES: Record<string, readonly [cause: string, remedy: string]> = {
  EAGAIN: ['the system has too many processes', 'End some, or raise the limit of processes.'],
  ENOMEM: ['there is not enough memory', 'Free memory.'],
  ENOENT: ['there is no such program', 'Install it again.'],
  EACCES: ['permission denied', 'Check the permissions of the program.'],
  E2BIG: ['its command line is too long', 'Take fewer frames at once.'],
};

/** Whether the system had no room for another process, which says nothing about the program. */
export function isShortage(error: unknown): boolean {
  return ['EMFILE', 'ENFILE', 'EAGAIN', 'ENOMEM', 'E2BIG'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** The error for a program that could not be started. */
export function spawnError(program: string, error: unknown): LongVLMError {
  const { code = '' } = error as NodeJS.ErrnoException;
  const known = Object.hasOwn(CAUSES, code) ? CAUSES[code] : undefined;
  const [cause, remedy] = descriptorCause(error) ?? known ?? [printable(messageOf(error)), 'Try again.'];
  return new LongVLMError('ERR_LONGVLM_FFMPEG', `Cannot start ${printable(program)}: ${cause}. ${remedy}`, {
    cause: error,
  });
}
