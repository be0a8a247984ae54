// llama.cpp cannot move tokens that have several positions each (M-RoPE): asked to, it ends the process. node-llama-cpp asks when
// the context is full, or when something is erased that is not the end. Sequences with placed embeddings refuse that instead.
import type { LlamaContextSequence } from 'node-llama-cpp';
import { LongVLMError } from '../base/errors.js';

type Range = { readonly start: number; readonly end: number };

type Erasing = LlamaContextSequence & {
  _nextTokenIndex: number;
  _eraseContextTokenRanges(ranges: readonly Range[], options?: object): Promise<void>;
};

const guarded = new WeakSet<LlamaContextSequence>();

/** Lets a sequence refuse to erase anything but its end. */
export function keepPlaces(sequence: LlamaContextSequence): void {
  if (guarded.has(sequence)) return;
  guarded.add(sequence);
  const held = sequence as Erasing;
  const erase = held._eraseContextTokenRanges;
  held._eraseContextTokenRanges = async function (this: Erasing, ranges, options) {
    if (!areEnd(ranges, this._nextTokenIndex)) throw refusal(this);
    return erase.call(this, ranges, options);
  };
}

/** Whether nothing is left behind what is erased. */
function areEnd(ranges: readonly Range[], length: number): boolean {
  const erased = ranges
    .map(({ start, end }) => ({ start: Math.min(start, end), end: Math.min(Math.max(start, end), length) }))
    .filter(({ start, end }) => start < end)
    .sort((a, b) => b.start - a.start);
  let from = length;
  for (const { start, end } of erased) {
    if (end < from) return false;
    from = Math.min(from, start);
  }
  return true;
}

function refusal({ contextSize, nextTokenIndex }: LlamaContextSequence): LongVLMError {
  const isFull = nextTokenIndex >= contextSize - 1;
  const cause = 'The tokens of a model with several positions each (M-RoPE) cannot be moved in its context';
  return isFull
    ? new LongVLMError(
        'ERR_LONGVLM_CONTEXT_FULL',
        `${cause}, and the sequence has filled the ${contextSize} places of its own. Raise contextSize, or begin a new sequence.`,
      )
    : new LongVLMError(
        'ERR_LONGVLM_UNSUPPORTED',
        `${cause}: only the end of the sequence can be erased. Erase all behind it, too.`,
      );
}
