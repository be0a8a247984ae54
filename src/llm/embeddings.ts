// The only TypeScript file that depends on internals of node-llama-cpp. node-llama-cpp cannot evaluate input embeddings, so
// this file adds them to its sequence as its own evaluation would: under the same locks, and leaving the same state.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { LlamaContextSequence, Token } from 'node-llama-cpp';
import { listen } from '../base/abort.js';
import { checkDescriptors } from '../base/descriptors.js';
import { LongVLMError, messageOf } from '../base/errors.js';
import { checkAllFinite, widened } from '../base/largeTensor.js';
import type { Tensor, TensorInput } from '../base/tensor.js';
import { checkInteger, checkObject, checkOneOf, checkSignal, checkTensor, wrongType } from '../base/validate.js';
import {
  binding,
  fromNative,
  type NativeEmbeddingsInput,
  type NativeEvaluateEmbeddingsArgs,
  type NativeTask,
  nativeInput,
} from '../binding.js';
import { keepPlaces } from './fixedPlaces.js';
import { cannotLoad } from './llama.js';
import { noteRun, type Places, readPlaces, usedPlaces } from './places.js';

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

/**
 * A `LlamaContextSequence` of node-llama-cpp, as far as it is told from other objects. Its types are not imported: they have
 * errors of their own where a project checks the types of packages (`skipLibCheck: false`).
 */
export type LlamaSequence = {
  readonly contextSize: number;
  readonly nextTokenIndex: number;
  readonly contextTokens: readonly number[];
  readonly disposed: boolean;
};

/** Options of {@link evaluateEmbeddings}. */
export type EvaluateEmbeddingsOptions = {
  /**
   * The token that stands for each embedding in the sequence's list of tokens (`sequence.contextTokens`). It is never
   * evaluated. Defaults to the model's beginning-of-sequence token, else `0`.
   */
  placeholder?: number;
  /**
   * For a model that places each token in time, height and width (M-RoPE, such as Qwen-VL's): the places of the embeddings,
   * [tokens, 3] (t, y, x) from where they begin, in ascending order. Defaults to one after another, as texts are placed.
   */
  positions?: Int32Array;
  /**
   * With `positions`: how many positions the embeddings take up; the next token's is that far from where they begin. The
   * sequence counts positions (`sequence.nextTokenIndex`), not cells of the context. Defaults to the largest of `positions`
   * and one, as in transformers; give that of the whole frame if tokens were left out.
   */
  span?: number;
  /**
   * `full` lets each embedding attend to all that are evaluated with it, as Gemma 3 does within an image; they must fit into
   * one batch of the context. Defaults to `causal`.
   */
  attention?: 'causal' | 'full';
  /** Aborts the evaluation; the sequence is restored to its state before the call. */
  signal?: AbortSignal | null;
};

/**
 * Appends input embeddings to a sequence of node-llama-cpp and evaluates them, as if they were the embeddings of tokens. All
 * features of the sequence (evaluation, sampling, grammar, saving) continue from there. Only erase ranges after the
 * embeddings: embeddings cannot be evaluated again from their placeholder tokens.
 *
 * @param sequence a sequence of a context of node-llama-cpp
 * llama.cpp cannot move the tokens of a model with several positions each: erase only the end of its sequences.
 *
 * @param embeddings [tokens, width] float32 or float16, where `width` is that of the model's input: its embedding width, and
 *   as much again for each later layer that adds a row (DeepStack, as Qwen3-VL has it). Float32 is read in place: do not write
 *   to it until the promise settles
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` for NaN or infinity, `ERR_LONGVLM_MISMATCH` if the width is not the model's, or
 *   it takes no `positions`, `ERR_LONGVLM_CONTEXT_FULL` if the embeddings do not fit into the sequence or into one batch,
 *   `ERR_LONGVLM_UNSUPPORTED` if the installed node-llama-cpp is not the supported release
 * @example
 * ```ts
 * await evaluateEmbeddings(sequence, { type: 'float32', data, dims: [305, 4096] });
 * for await (const token of sequence.evaluate(model.tokenize('\nWhat happens? ASSISTANT:'))) …
 * ```
 */
export async function evaluateEmbeddings(
  sequence: LlamaSequence,
  embeddings: TensorInput,
  options: EvaluateEmbeddingsOptions = {},
): Promise<void> {
  const held = sequence as unknown as SequenceInside;
  if (typeof held?._sequenceId !== 'number' || typeof held._context?._ctx?.getContextSize !== 'function')
    wrongType('sequence', 'LlamaContextSequence of node-llama-cpp', sequence);
  const given = checkTensor('embeddings', embeddings, ['tokens', 'width']);
  checkObject('options', options);
  const placeholder =
    options.placeholder === undefined ? undefined : checkInteger('placeholder', options.placeholder, 0);
  const signal = checkSignal(options.signal);
  signal?.throwIfAborted();

  const [count, width] = given.dims as [number, number];
  const places = readPlaces(options, count);
  const causal = checkOneOf('attention', options.attention ?? 'causal', ['causal', 'full']) === 'causal';
  if (count === 0) return;
  const { acquireLock } = await loadInside();
  await held._abortTokenPredictor(false, true);
  const values = await widened({ ...given, data: nativeInput('embeddings.data', given.data) } as Tensor);
  // One NaN would spread over every later token of the sequence.
  await checkAllFinite('The tensor of embeddings', values, 'Check the features and the projector that it comes from.');
  // Lock in the order of node-llama-cpp's own evaluation: first the sequence, then its context, which a decode locks.
  const locks: Lock[] = [];
  try {
    locks.push(await acquireLock([held._lock, 'evaluate'], signal));
    locks.push(await acquireLock([held._context, 'context'], signal));
    locks.push(held._context._backendContextDisposeGuard.createPreventDisposalHandle());
    const { axes } = checkInput(held, { count, width, places, causal });
    const first = held._nextTokenIndex;
    const room = sequence.contextSize - 1 - Math.max(usedPlaces(held), first + places.span - count);
    if (count > room) throw contextFull(count, room, sequence.contextSize);
    const { positions, span } = places;
    await evaluate(held, { first, count, width, embeddings: values.data, positions, causal }, signal);
    const token = (placeholder ?? held.model.tokens.bos ?? 0) as Token;
    held._contextTokens = held._contextTokens.concat(new Array<Token>(span).fill(token));
    held._nextTokenIndex += span;
    noteRun(held, { start: first, span, count });
    if (axes > 1) keepPlaces(held);
    held.tokenMeter.useTokens(count, 'input');
  } finally {
    for (const lock of locks.reverse()) lock.dispose();
  }
}

function inputOf(context: SequenceInside['_context']['_ctx']): NativeEmbeddingsInput {
  try {
    return binding().embeddingsInput({ context, contextSize: context.getContextSize() });
  } catch (error) {
    throw notTaken(error);
  }
}

/**
 * What the model takes.
 * @throws LongVLMError if it does not take such embeddings
 */
function checkInput(
  held: SequenceInside,
  { count, width, places, causal }: { count: number; width: number; places: Places; causal: boolean },
): NativeEmbeddingsInput {
  const { _ctx: context } = held._context;
  const input = inputOf(context);
  const own = held.model.embeddingVectorSize;
  const rows = input.width / own - 1;
  const and = rows > 0 ? ` (${own}, and ${rows} rows of as many for later layers)` : '';
  if (width !== input.width)
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `The embeddings are ${width} wide but the language model takes ${input.width}${and}. ` +
        'Use the projector that was trained for this language model.',
    );
  if (places.positions !== undefined && input.axes === 1)
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      'Positions in time, height and width are given, but the language model has one position a token. Leave positions out.',
    );
  if (!causal && count > input.batchSize)
    throw new LongVLMError(
      'ERR_LONGVLM_CONTEXT_FULL',
      `${count} embeddings that attend to each other do not fit into the context's batches of ${input.batchSize}. ` +
        'Raise its batchSize, or evaluate them in several calls.',
    );
  return input;
}

async function evaluate(
  held: SequenceInside,
  args: Omit<NativeEvaluateEmbeddingsArgs, 'context' | 'contextSize' | 'sequence'>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { _ctx: context } = held._context;
  let unlink = () => {};
  try {
    const task: NativeTask = binding().evaluateEmbeddings({
      context,
      contextSize: context.getContextSize(),
      sequence: held._sequenceId,
      ...args,
    });
    unlink = listen(signal, () => task.cancel());
    // An abort after the last embedding has no effect: all embeddings are evaluated and recorded in the sequence.
    await task.promise;
  } catch (error) {
    signal?.throwIfAborted();
    throw notTaken(error);
  } finally {
    unlink();
  }
}

function notTaken(error: unknown): LongVLMError {
  const known = fromNative(error);
  if (known instanceof LongVLMError) return known;
  return new LongVLMError('ERR_LONGVLM_LLM', `The language model did not take the embeddings: ${messageOf(error)}.`, {
    cause: error,
  });
}

function contextFull(count: number, room: number, contextSize: number): LongVLMError {
  return new LongVLMError(
    'ERR_LONGVLM_CONTEXT_FULL',
    `${count} embeddings do not fit into the ${Math.max(0, room)} free places of a context of ${contextSize} tokens. ` +
      'Raise contextSize or use fewer tokens of video.',
  );
}
