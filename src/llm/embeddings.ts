// The only TypeScript file that depends on internals of node-llama-cpp. node-llama-cpp cannot evaluate input embeddings, so
// this file adds them to its sequence as its own evaluation would: under the same locks, and leaving the same state.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { LlamaContextSequence, Token } from 'node-llama-cpp';
import { checkDescriptors } from '../base/descriptors.js';
import { LongVLMError, messageOf } from '../base/errors.js';
import { checkAllFinite, widened } from '../base/largeTensor.js';
import type { Tensor } from '../base/tensor.js';
import { checkInteger, checkSignal, checkTensor, wrongType } from '../base/validate.js';
import { binding, fromNative, type NativeTask } from '../binding.js';
import { cannotLoad } from './llama.js';

/** The release of node-llama-cpp whose memory layout native/llama/llama_abi.h states. */
const supportedRelease = '3.22.1';

type Lock = { dispose(): void };
type Locks = { acquireLock(scope: readonly [object, string], signal?: AbortSignal): Promise<Lock> };

/** The private members of a sequence that are used here. */
type SequenceInside = LlamaContextSequence & {
  _sequenceId: number;
  _nextTokenIndex: number;
  _contextTokens: Token[];
  _lock: object;
  _abortTokenPredictor(skipClearing: boolean, skipLock: boolean): Promise<void>;
  _context: {
    _ctx: { getContextSize(): number };
    _backendContextDisposeGuard: { createPreventDisposalHandle(): Lock };
  };
};

let inside: Promise<Locks> | undefined;

/** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for another release, `ERR_LONGVLM_LLM` when it cannot be loaded */
function loadInside(): Promise<Locks> {
  if (inside === undefined) {
    inside = load();
    inside.catch(() => (inside = undefined));
  }
  return inside;
}

/** Loads node-llama-cpp's instance of its lock library, after a check of its release. */
async function load(): Promise<Locks> {
  let release: string;
  try {
    checkDescriptors();
    const entry = createRequire(import.meta.url).resolve('node-llama-cpp');
    const manifest = readFileSync(new URL('../package.json', pathToFileURL(entry)), 'utf8');
    release = (JSON.parse(manifest) as { version: string }).version;
    const locks = createRequire(entry).resolve('lifecycle-utils');
    if (release === supportedRelease) return (await import(pathToFileURL(locks).href)) as Locks;
  } catch (error) {
    throw cannotLoad(error);
  }
  throw new LongVLMError(
    'ERR_LONGVLM_UNSUPPORTED',
    `Embeddings need node-llama-cpp ${supportedRelease} but ${release} is installed. ` +
      `Install node-llama-cpp@${supportedRelease}.`,
  );
}

/** Options of {@link evaluateEmbeddings}. */
export type EvaluateEmbeddingsOptions = {
  /**
   * The token that stands for each embedding in the sequence's list of tokens (`sequence.contextTokens`). It is never
   * evaluated. Defaults to the model's beginning-of-sequence token, else `0`.
   */
  placeholder?: number;
  /** Aborts the evaluation; the sequence is restored to its state before the call. */
  signal?: AbortSignal;
};

/**
 * Appends input embeddings to a sequence of node-llama-cpp and evaluates them, as if they were the embeddings of tokens. All
 * features of the sequence (evaluation, sampling, grammar, saving) continue from there. Only erase ranges after the
 * embeddings: embeddings cannot be evaluated again from their placeholder tokens.
 *
 * @param sequence a sequence of a context of node-llama-cpp
 * @param embeddings [tokens, width] float32 or float16, where `width` is the model's embedding width. Float32 is read in place:
 *   do not write to it until the promise settles
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` for NaN or infinity, `ERR_LONGVLM_MISMATCH` if the width is not the model's,
 *   `ERR_LONGVLM_CONTEXT_FULL` if the embeddings do not fit into the sequence, `ERR_LONGVLM_UNSUPPORTED` if the installed
 *   node-llama-cpp is not the supported release
 * @example
 * ```ts
 * await evaluateEmbeddings(sequence, { type: 'float32', data, dims: [305, 4096] });
 * for await (const token of sequence.evaluate(model.tokenize('\nWhat happens? ASSISTANT:'))) …
 * ```
 */
export async function evaluateEmbeddings(
  sequence: LlamaContextSequence,
  embeddings: Tensor,
  options: EvaluateEmbeddingsOptions = {},
): Promise<void> {
  const held = sequence as SequenceInside;
  if (typeof held?._sequenceId !== 'number' || typeof held._context?._ctx?.getContextSize !== 'function')
    wrongType('sequence', 'LlamaContextSequence of node-llama-cpp', sequence);
  checkTensor('embeddings', embeddings, ['tokens', 'width']);
  const placeholder =
    options.placeholder === undefined ? undefined : checkInteger('placeholder', options.placeholder, 0);
  const signal = checkSignal(options.signal);
  signal?.throwIfAborted();

  const [count, width] = embeddings.dims as [number, number];
  if (count === 0) return;
  const modelWidth = sequence.model.embeddingVectorSize;
  if (width !== modelWidth)
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `The embeddings are ${width} wide but the language model takes ${modelWidth}. ` +
        'Use the projector that was trained for this language model.',
    );
  const { acquireLock } = await loadInside();
  await held._abortTokenPredictor(false, true);
  const values = await widened(embeddings);
  // One NaN would spread over every later token of the sequence.
  await checkAllFinite('The tensor of embeddings', values, 'Check the features and the projector that it comes from.');
  // Lock in the order of node-llama-cpp's own evaluation: first the sequence, then its context, which a decode locks.
  const locks: Lock[] = [];
  try {
    locks.push(await acquireLock([held._lock, 'evaluate'], signal));
    locks.push(await acquireLock([held._context, 'context'], signal));
    locks.push(held._context._backendContextDisposeGuard.createPreventDisposalHandle());
    const first = held._nextTokenIndex;
    const room = sequence.contextSize - 1 - first;
    if (count > room) throw contextFull(count, room, sequence.contextSize);
    await evaluate(held, { first, count, width, embeddings: values.data }, signal);
    const token = (placeholder ?? sequence.model.tokens.bos ?? 0) as Token;
    held._contextTokens = held._contextTokens.concat(new Array<Token>(count).fill(token));
    held._nextTokenIndex += count;
    sequence.tokenMeter.useTokens(count, 'input');
  } finally {
    for (const lock of locks.reverse()) lock.dispose();
  }
}

async function evaluate(
  held: SequenceInside,
  args: { first: number; count: number; width: number; embeddings: Float32Array },
  signal: AbortSignal | undefined,
): Promise<void> {
  const { _ctx: context } = held._context;
  let cancel = () => {};
  try {
    const task: NativeTask = binding().evaluateEmbeddings({
      context,
      contextSize: context.getContextSize(),
      sequence: held._sequenceId,
      ...args,
    });
    cancel = () => task.cancel();
    signal?.addEventListener('abort', cancel);
    // An abort after the last embedding has no effect: all embeddings are evaluated and recorded in the sequence.
    await task.promise;
  } catch (error) {
    signal?.throwIfAborted();
    const known = fromNative(error);
    if (known instanceof LongVLMError) throw known;
    throw new LongVLMError('ERR_LONGVLM_LLM', `The language model did not take the embeddings: ${messageOf(error)}.`, {
      cause: error,
    });
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}

function contextFull(count: number, room: number, contextSize: number): LongVLMError {
  return new LongVLMError(
    'ERR_LONGVLM_CONTEXT_FULL',
    `${count} embeddings do not fit into the ${Math.max(0, room)} free places of a context of ${contextSize} tokens. ` +
      'Raise contextSize or use fewer tokens of video.',
  );
}
