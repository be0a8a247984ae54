import { describe, expect, test } from 'vitest';
import { raceAbort } from '../../../dist/base/abort.js';

describe('raceAbort()', () => {
  test('gives what the promise gives, and leaves no listener', async () => {
    const { signal } = new AbortController();
    let listeners = 0;
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (...args: Parameters<AbortSignal['addEventListener']>) => {
      listeners++;
      addEventListener.apply(signal, args);
    };
    signal.removeEventListener = (...args: Parameters<AbortSignal['removeEventListener']>) => {
      listeners--;
      removeEventListener.apply(signal, args);
    };
    expect(await raceAbort(Promise.resolve(5), signal, undefined)).toBe(5);
    expect(listeners).toBe(0);
  });

  test('rejects with the reason of whichever signal aborts first, without waiting', async () => {
    const [first, second] = [new AbortController(), new AbortController()];
    const raced = raceAbort(new Promise(() => {}), first.signal, second.signal);
    second.abort('second');
    first.abort('first');
    await expect(raced).rejects.toBe('second');
  });

  test('drops a failure that comes after the abort', async () => {
    const controller = new AbortController();
    let fail!: (error: Error) => void;
    const raced = raceAbort(new Promise((_, reject) => (fail = reject)), controller.signal);
    controller.abort('gone');
    await expect(raced).rejects.toBe('gone');
    // An unhandled rejection would fail this run.
    fail(new Error('late'));
    await new Promise((resolve) => setTimeout(resolve, 5));
  });
});
