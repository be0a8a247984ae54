// Calls of users' functions. What they throw, and the rejection of a promise that they return, ends the call to which they were
// given; nothing of it is left to become an unhandled rejection, which ends Node.
import { linkedController, raceAbort } from './abort.js';
import { checkFunction, checkSignal, isReadable } from './validate.js';

type Callback = (...args: never[]) => unknown;

/** The callbacks of one call. Their first failure aborts {@link signal}. */
class Callbacks {
  readonly signal: AbortSignal;
  readonly #given: AbortSignal | undefined;
  readonly #controller: AbortController;
  readonly #unlink: () => void;
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(signal: AbortSignal | undefined) {
    const { controller, unlink } = linkedController(signal);
    this.signal = controller.signal;
    this.#given = signal;
    this.#controller = controller;
    this.#unlink = unlink;
  }

  /** `callback`, which now returns nothing and never throws. */
  guard<Args extends unknown[]>(callback: (...args: Args) => unknown): (...args: Args) => void {
    return (...args) => {
      if (this.#failure) return;
      try {
        const result = callback(...args);
        if (typeof result !== 'object' || result === null) return;
        const ended: Promise<void> = Promise.resolve(result)
          .then(() => {}, this.#fail)
          .finally(() => this.#running.delete(ended));
        this.#running.add(ended);
      } catch (error) {
        this.#fail(error);
      }
    };
  }

  /** Waits for the callbacks that have not ended. @throws what one of them threw; `signal.reason` */
  async settle(): Promise<void> {
    await raceAbort(Promise.all(this.#running), this.#given);
    if (this.#failure) throw this.#failure.error;
  }

  /** The error of the call that failed with `error`: that of a callback if there is one. */
  errorOf(error: unknown): unknown {
    return this.#failure ? this.#failure.error : error;
  }

  end(): void {
    this.#unlink();
  }

  readonly #fail = (error: unknown) => {
    this.#failure ??= { error };
    this.#controller.abort(error);
  };
}

type Options = { readonly signal?: AbortSignal | null | undefined };

/**
 * Does work that calls functions in its options. If one of these fails, the work is aborted, and the error is that function's.
 * @param names which of the options are such functions
 * @param work gets options of the same values, with guarded functions and another signal
 * @param discard frees the result of work that was done when a function failed
 */
export async function withCallbacks<O extends Options, T>(
  options: O,
  names: readonly (keyof O & string)[],
  work: (options: O) => Promise<T>,
  discard?: (result: T) => Promise<void>,
): Promise<T> {
  const callbacks = callbacksOf(options, names);
  if (callbacks === undefined) return work(options);
  try {
    const result = await work(callbacks.options);
    try {
      await callbacks.settle();
    } catch (error) {
      await discard?.(result);
      throw error;
    }
    return result;
  } catch (error) {
    throw callbacks.errorOf(error);
  } finally {
    callbacks.end();
  }
}

/** {@link withCallbacks} for work that gives its results one by one. */
export async function* generateWithCallbacks<O extends Options, T>(
  options: O,
  names: readonly (keyof O & string)[],
  work: (options: O) => AsyncIterable<T>,
): AsyncGenerator<T, void, undefined> {
  const callbacks = callbacksOf(options, names);
  if (callbacks === undefined) {
    yield* work(options);
    return;
  }
  try {
    for await (const result of work(callbacks.options)) {
      await callbacks.settle();
      yield result;
    }
    await callbacks.settle();
  } catch (error) {
    throw callbacks.errorOf(error);
  } finally {
    callbacks.end();
  }
}

type Guarded<O> = { readonly options: O } & Pick<Callbacks, 'settle' | 'errorOf' | 'end'>;

/** Undefined where there is no function: wrong options are left to those who check them. */
function callbacksOf<O extends Options>(options: O, names: readonly (keyof O & string)[]): Guarded<O> | undefined {
  if (!isReadable(options)) return undefined;
  const given: [string, Callback][] = [];
  for (const name of names) {
    const callback: unknown = options[name];
    if (typeof callback === 'function') given.push([name, checkFunction(name, callback) as Callback]);
  }
  if (given.length === 0) return undefined;
  const signal = checkSignal(options.signal);
  const callbacks = new Callbacks(signal);
  const guarded = given.map(([name, callback]) => [name, callbacks.guard(callback)]);
  const own = { ...Object.fromEntries(guarded), signal: callbacks.signal };
  return {
    // Defined, not assigned: the prototype may have getters of these names.
    options: Object.create(
      Object.getPrototypeOf(options),
      Object.getOwnPropertyDescriptors({ ...options, ...own }),
    ) as O,
    settle: () => callbacks.settle(),
    errorOf: (error) => callbacks.errorOf(error),
    end: () => callbacks.end(),
  };
}
