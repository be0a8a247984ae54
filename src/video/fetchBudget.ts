import { linkedController } from '../base/abort.js';
import { LongVLMError } from '../base/errors.js';
import { longestTimer } from '../base/wait.js';
import type { SettledLimits, VideoLimits } from './limits.js';

/** The rest of {@link VideoLimits} while an input is read. */
export class FetchBudget {
  /** Aborts with the caller's signal, or at a timeout. */
  readonly signal: AbortSignal;
  readonly limits: SettledLimits;
  readonly #unlink: () => void;
  readonly #total: NodeJS.Timeout;
  readonly #idle: NodeJS.Timeout;
  #bytes = 0;
  #name = 'video';

  constructor(limits: SettledLimits, signal: AbortSignal | undefined) {
    const { controller, unlink } = linkedController(signal);
    const { timeoutSeconds, idleSeconds } = limits;
    this.limits = limits;
    this.signal = controller.signal;
    this.#unlink = unlink;
    const after = (seconds: number, cause: string, limit: keyof VideoLimits) =>
      setTimeout(
        () => controller.abort(this.error(cause, `Try again, or raise the limit ${limit}.`)),
        Math.min(seconds * 1000, longestTimer),
      );
    this.#total = after(timeoutSeconds, `was not there after ${timeoutSeconds} s`, 'timeoutSeconds');
    this.#idle = after(idleSeconds, `sent nothing for ${idleSeconds} s`, 'idleSeconds');
  }

  /** Starts an item; messages call it `name`. */
  begin(name: string): void {
    this.#name = name;
    this.#idle.refresh();
  }

  /** Counts received bytes. @throws LongVLMError `ERR_LONGVLM_FETCH` when the limit is exceeded */
  spend(bytes: number): void {
    this.checkRoom(bytes);
    this.#bytes += bytes;
    this.#idle.refresh();
  }

  /** @throws LongVLMError `ERR_LONGVLM_FETCH` when `bytes` more bytes would exceed the limit */
  checkRoom(bytes: number): void {
    const { maxBytes } = this.limits;
    if (this.#bytes + bytes > maxBytes)
      throw this.error(`is larger than ${maxBytes} bytes`, 'Take a smaller video, or raise the limit maxBytes.');
  }

  /** @param cause Follows the name of the item in the message. */
  error(cause: string, remedy: string, error?: unknown): LongVLMError {
    return new LongVLMError('ERR_LONGVLM_FETCH', `'${this.#name}' ${cause}. ${remedy}`, { cause: error });
  }

  dispose(): void {
    clearTimeout(this.#total);
    clearTimeout(this.#idle);
    this.#unlink();
  }
}
