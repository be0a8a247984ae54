import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { linkedController, raceAbort } from '../../../dist/base/abort.js';
import { readOptions } from '../../../dist/base/options.js';
import { checkSignal } from '../../../dist/base/validate.js';

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

describe('a signal', () => {
  test('may end any number of calls without a warning', async () => {
    const warnings: Error[] = [];
    const note = (warning: Error) => warnings.push(warning);
    process.on('warning', note);
    // Made in here, so that no check of arguments has seen it.
    const { signal } = new AbortController();
    const waits = Array.from({ length: 12 }, () =>
      raceAbort(new Promise<void>((resolve) => setTimeout(resolve, 5)), signal),
    );
    const links = Array.from({ length: 12 }, () => linkedController(signal));
    const inner = links[0]!.controller.signal;
    for (let i = 0; i < 12; i++) inner.addEventListener('abort', () => {});
    await Promise.all(waits);
    for (const { unlink } of links) unlink();
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    // Node warns in a later turn.
    await new Promise((resolve) => setTimeout(resolve, 5));
    process.off('warning', note);
    expect(warnings).toEqual([]);
  });

  test('that is null is none', () => {
    expect(checkSignal(null)).toBeUndefined();
    expect(readOptions({ signal: null, other: null }, ['signal', 'other'])).toEqual({ other: null });
  });
});
