import { LongVLMError } from '../base/errors.js';
import type { TensorInput } from '../base/tensor.js';
import { checkInteger, checkObject } from '../base/validate.js';
import { binding, type NativeTokenMerger } from '../binding.js';
import { checkKeepOrSchedule, checkSchedule } from './mergeSchedule.js';
import {
  type MergeCallOptions,
  type MergedTokens,
  mergeOnHost,
  mergeOnHostSync,
  readOptions,
  type TokenMergerOptions,
} from './mergeTokens.js';

export type TokenMergerCallOptions = MergeCallOptions & {
  /** Stops the work; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | null;
};

/**
 * {@link mergeTokens} with fixed options and its own scratch memory, which is reused between calls. Use it for a stream of
 * segments, to release the scratch memory when the stream ends.
 *
 * @example
 * const merger = new TokenMerger({ heads: 16, keep: 30 });
 * try {
 *   for await (const segment of segments) send(await merger.merge(segment));
 * } finally {
 *   merger.dispose();
 * }
 */
export class TokenMerger {
  readonly #options: TokenMergerOptions;
  #native: NativeTokenMerger | undefined;

  /**
   * @throws TypeError or RangeError when an option is wrong
   * @throws LongVLMError `ERR_LONGVLM_ADDON` when the native addon cannot be loaded
   */
  constructor(options: TokenMergerOptions) {
    const read = readOptions(checkObject('options', options));
    checkInteger('heads', read.heads, 1);
    checkInteger('protect', read.protect ?? 0, 0);
    checkKeepOrSchedule(read);
    if (read.keep !== undefined) checkInteger('keep', read.keep, 1);
    this.#options = read.keep === undefined ? { ...read, schedule: checkSchedule(read.schedule) } : read;
    this.#native = binding().createTokenMerger();
  }

  /** Whether {@link dispose} was called. */
  get disposed(): boolean {
    return this.#native === undefined;
  }

  /**
   * Merges as {@link mergeTokens} does. If calls overlap, only one of them uses the kept memory; the others allocate their own.
   *
   * @throws as {@link mergeTokens}; LongVLMError `ERR_LONGVLM_DISPOSED` after {@link dispose}
   */
  async merge(tokens: TensorInput, options: TokenMergerCallOptions = {}): Promise<MergedTokens> {
    checkObject('options', options);
    return await mergeOnHost(tokens, this.#options, options, this.#checkNative());
  }

  /**
   * The synchronous form of {@link merge}: blocks the calling thread.
   *
   * @throws as {@link merge} does
   */
  mergeSync(tokens: TensorInput, options: MergeCallOptions = {}): MergedTokens {
    checkObject('options', options);
    return mergeOnHostSync(tokens, this.#options, options, this.#checkNative());
  }

  /** Releases the scratch memory once running calls have finished. Safe to call twice. */
  dispose(): void {
    if (this.#native === undefined) return;
    binding().disposeTokenMerger({ merger: this.#native });
    this.#native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #checkNative(): NativeTokenMerger {
    if (this.#native === undefined)
      throw new LongVLMError('ERR_LONGVLM_DISPOSED', 'This TokenMerger was disposed. Make a new one.');
    return this.#native;
  }
}
