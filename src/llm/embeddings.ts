// The one TypeScript file that knows the inside of node-llama-cpp. It has no input embeddings of its own, so they are
// put into its sequence here, the way its own evaluation would: under the same locks, leaving the same state behind.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { LlamaContextSequence, Token } from 'node-llama-cpp';
import { LongVLMError, messageOf } from '../base/errors.js';
import { type Tensor, toFloat32 } from '../base/tensor.js';
import { checkFinite, checkInteger, checkSignal, checkTensor, wrongType } from '../base/validate.js';
import { binding, fromNative, type NativeTask } from '../binding.js';

/** The release of node-llama-cpp whose memory layout native/llama/llama_abi.h states. */
const supportedRelease = '3.22.1';

type Lock = { dispose(): void };
type Locks = { acquireLock(scope: readonly [object, string], signal?: AbortSignal): Promise<Lock> };

/** What of a sequence is used here beside its public members. */
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

/** node-llama-cpp's own instance of its lock library, after a check that it is the supported release. */
function loadInside(): Promise<Locks> {
  inside ??= (async () => {
    const entry = createRequire(import.meta.url).resolve('node-llama-cpp');
    const manifest = JSON.parse(readFileSync(new URL('../package.json', pathToFileURL(entry)), 'utf8')) as {
      version: string;
    };
    if (manifest.version !== supportedRelease)
      throw new LongVLMError(
        'ERR_LONGVLM_UNSUPPORTED',
        `Embeddings need node-llama-cpp ${supportedRelease} but ${manifest.version} is installed. ` +
          `Install node-llama-cpp@${supportedRelease}.`,
      );
    const locks = createRequire(entry).resolve('lifecycle-utils');
    return (await import(pathToFileURL(locks).href)) as Locks;
  })();
  return inside;
}

/** Options of {@link evaluateEmbeddings}. */
export type EvaluateEmbeddingsOptions = {
  /**
   * The token that stands for each embedding in the sequence's list of tokens (`sequence.contextTokens`). It is never
   * evaluated. Defaults to the model's beginning-of-sequence token, else `0`.
   */
  placeholder?: number;
  /** Ends the evaluation early; the sequence is then as it was before. */
  signal?: AbortSignal;
};

/**
 * Evaluates input embeddings in a live sequence of node-llama-cpp, after what it holds already, as if they were the
 * embeddings of so many tokens. All that builds on the sequence (evaluation, sampling, grammar, saving) goes on from
 * there. Erase only ranges behind the embeddings: they cannot be evaluated again from their placeholders.
 *
 * @param sequence a sequence of a context of node-llama-cpp
 * @param embeddings [tokens, width] float32 or float16, `width` being the model's embedding width; float32 is read in
 *   place and must not be written meanwhile
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` for NaN or infinity, `ERR_LONGVLM_MISMATCH` for another width than the model's, `ERR_LONGVLM_CONTEXT_FULL` when the
 *   sequence has no room for them, `ERR_LONGVLM_UNSUPPORTED` for another release of node-llama-cpp than the pinned one
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
  const values = toFloat32(embeddings);
  // One NaN would spread over every later token of the sequence.
  checkFinite('The tensor of embeddings', values, 'Check the features and the projector that it comes from.');
  // The order of node-llama-cpp's own evaluation: the sequence first, then its context, whose lock one decode holds.
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
    // An abort that comes after the last embedding changes nothing: the sequence holds them, and says so.
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
