import { messageOf } from './errors.js';

/**
 * Why a connection failed, in words without a full stop.
 * @param seconds what time it had
 */
export function connectionReason(error: unknown, seconds: number): string {
  // fetch() says only that it failed. Where a name has several addresses, Node tells of each.
  const caused = (error as { cause?: unknown } | null)?.cause ?? error;
  const [first = caused] = (caused as { errors?: unknown[] } | null)?.errors ?? [];
  const { code } = (first ?? {}) as NodeJS.ErrnoException;
  if (code === 'ECONNREFUSED') return 'nothing listens there';
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'there is no host of this name';
  if (code === 'ETIMEDOUT' || code === 'UND_ERR_CONNECT_TIMEOUT') return `it did not answer in ${seconds} s`;
  return messageOf(first).replace(/[.\s]+$/, '');
}
