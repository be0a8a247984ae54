import { linkedController } from '../base/abort.js';
import { LongVLMError } from '../base/errors.js';
import { checkInteger, checkNumber, checkObject } from '../base/validate.js';

/** How much is taken from a URL, bytes or a stream, in all: for a list of pictures, all of them together. */
export type FetchLimits = {
  /** Bytes of content. Defaults to 8 GiB. */
  readonly maxBytes?: number;
  /** Seconds from the beginning to the last byte. Defaults to `3600`. */
  readonly timeoutSeconds?: number;
  /** Seconds in which nothing comes; for a URL at most 300, when Node itself gives up. Defaults to `30`. */
  readonly idleSeconds?: number;
  /** Redirects that are followed from one URL. Defaults to `5`. */
  readonly maxRedirects?: number;
};

/** The longest that setTimeout waits: 24 days. */
const MAX_TIMER = 2 ** 31 - 1;

/** `limits` with the defaults. @throws TypeError, RangeError */
export function checkLimits(limits: FetchLimits = {}): Required<FetchLimits> {
  const {
    maxBytes = 8 * 2 ** 30,
    timeoutSeconds = 3600,
    idleSeconds = 30,
    maxRedirects = 5,
  } = checkObject('limits', limits);
  checkInteger('limits.maxBytes', maxBytes, 1);
  checkNumber('limits.timeoutSeconds', timeoutSeconds, 0);
  checkNumber('limits.idleSeconds', idleSeconds, 0);
  checkInteger('limits.maxRedirects', maxRedirects, 0);
  return { maxBytes, timeoutSeconds, idleSeconds, maxRedirects };
}

/** What is left of {@link FetchLimits} while an input is taken, piece by piece. */
export class FetchBudget {
  /** Aborts with the caller's signal, or when time runs out. */
  readonly signal: AbortSignal;
  readonly limits: Required<FetchLimits>;
  readonly #unlink: () => void;
  readonly #total: NodeJS.Timeout;
  readonly #idle: NodeJS.Timeout;
  #bytes = 0;
  #name = 'video';

  constructor(limits: Required<FetchLimits>, signal: AbortSignal | undefined) {
    const { controller, unlink } = linkedController(signal);
    const { timeoutSeconds, idleSeconds } = limits;
    this.limits = limits;
    this.signal = controller.signal;
    this.#unlink = unlink;
    const after = (seconds: number, cause: string, limit: keyof FetchLimits) =>
      setTimeout(
        () => controller.abort(this.error(cause, `Try again, or raise the limit ${limit}.`)),
        Math.min(seconds * 1000, MAX_TIMER),
      );
    this.#total = after(timeoutSeconds, `was not there after ${timeoutSeconds} s`, 'timeoutSeconds');
    this.#idle = after(idleSeconds, `sent nothing for ${idleSeconds} s`, 'idleSeconds');
  }

  /** From here on, messages speak of `name`. */
  begin(name: string): void {
    this.#name = name;
    this.#idle.refresh();
  }

  /** Takes note of so many bytes that came. @throws LongVLMError `ERR_LONGVLM_FETCH` when they are too many */
  spend(bytes: number): void {
    this.checkRoom(bytes);
    this.#bytes += bytes;
    this.#idle.refresh();
  }

  /** @throws LongVLMError `ERR_LONGVLM_FETCH` when so many bytes more would be too many */
  checkRoom(bytes: number): void {
    const { maxBytes } = this.limits;
    if (this.#bytes + bytes > maxBytes)
      throw this.error(`is larger than ${maxBytes} bytes`, 'Take a smaller video, or raise the limit maxBytes.');
  }

  /** @param cause Follows the name of what is fetched. */
  error(cause: string, remedy: string, error?: unknown): LongVLMError {
    return new LongVLMError('ERR_LONGVLM_FETCH', `'${this.#name}' ${cause}. ${remedy}`, { cause: error });
  }

  dispose(): void {
    clearTimeout(this.#total);
    clearTimeout(this.#idle);
    this.#unlink();
  }
}
