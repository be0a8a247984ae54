import { checkInteger } from '../base/validate.js';
import { binding, fromNative } from '../binding.js';

const mostThreads = 1024;

/**
 * The most threads that the kernels use, all calls of the process together: a number of at least 1. Calls wait for their turn in
 * a queue of longvlm's own, up to four at work at once; libuv's threads, which read files, stay free. ONNX Runtime and llama.cpp
 * have threads of their own, see `threads` where models are loaded.
 *
 * The default is `LONGVLM_NUM_THREADS`, else one for each core.
 *
 * @param threads sets the number from now on, in the whole process: 1 to 1024, or 0 for the default. What runs goes on as it is
 * @returns the number
 * @throws TypeError or RangeError when it is wrong; LongVLMError `ERR_LONGVLM_ADDON` when the addon cannot be loaded
 *
 * @example
 * concurrency(); // 8
 * concurrency(4); // 4
 */
export function concurrency(threads?: number): number {
  const native = binding();
  try {
    if (threads !== undefined) native.setConcurrency({ threads: checkInteger('threads', threads, 0, mostThreads) });
    return native.concurrency();
  } catch (error) {
    throw fromNative(error);
  }
}
