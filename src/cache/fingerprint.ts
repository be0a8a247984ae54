// Fingerprints of weights: keys of what is made of them. They cover every byte, and are remembered by the files' states.
import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { digests, stateOf } from '../files/fileContent.js';
import { bytesPerElement, type TensorLocation, weightsError } from '../files/tensorFile.js';
import { spanOf } from '../files/torchObjects.js';
import { recall, remember } from './knownDigests.js';

/** A fingerprint, and the files that it was made from. */
export type GuardedFingerprint = {
  readonly key: string;
  /** @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when one of the files was written to or replaced since. */
  readonly check: () => Promise<void>;
  /**
   * Checks what a graph has just used, which reads weights when it starts and while it runs.
   * @param hasJustStarted if not, a file that took another's place is none of the graph's, which goes on with the old one
   * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when the files hold something else than they did
   */
  readonly checkUsed: (hasJustStarted: boolean) => Promise<void>;
};

/**
 * A fingerprint of weights: SHA-256 of `description` and, for each tensor in order, of its type, shape and bytes. Names and
 * positions in files do not matter. The first time takes as long as reading them; later, a few milliseconds.
 * @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`; `signal.reason`
 */
export async function fingerprint(
  description: unknown,
  tensors: readonly TensorLocation[],
  signal?: AbortSignal,
): Promise<string> {
  return (await guardedFingerprint(description, tensors, signal)).key;
}

/** As {@link fingerprint}, for what is read from the same files afterwards. */
export async function guardedFingerprint(
  description: unknown,
  tensors: readonly TensorLocation[],
  signal?: AbortSignal,
): Promise<GuardedFingerprint> {
  // What was written out is known by what it was made from: its own file is touched whenever it is used.
  const parts = tensors.map((tensor) => ({ as: tensor.type, ...stretchOf(tensor.madeFrom ?? tensor) }));
  return keyOf(description, parts, signal);
}

/** A fingerprint of a file's content, whatever its path. Throws as {@link fingerprint}. */
export async function weightsFingerprint(file: string, signal?: AbortSignal): Promise<string> {
  const byteLength = Number((await stateOf(file)).size);
  return (await keyOf('file', [{ as: '', text: '', file, offset: 0, byteLength }], signal)).key;
}

type Part = {
  readonly as: string;
  readonly text: string;
  readonly file: string;
  readonly offset: number;
  readonly byteLength: number;
};

function stretchOf({ type, shape, file, offset, byteLength, view }: TensorLocation): Omit<Part, 'as'> {
  const bytes = view ? spanOf(shape, view.strides) * bytesPerElement(view.type)! : byteLength;
  return { text: `${type}[${shape}]${view ? ` by [${view.strides}]` : ''}`, file, offset, byteLength: bytes };
}

async function keyOf(
  description: unknown,
  parts: readonly Part[],
  signal: AbortSignal | undefined,
): Promise<GuardedFingerprint> {
  const files = [...new Set(parts.map(({ file }) => file))];
  const states = await Promise.all(files.map(stateOf));
  const check = async () => {
    for (const [index, file] of files.entries())
      if (marksOf(await stateOf(file)) !== marksOf(states[index]!))
        throw weightsError(file, 'it changed while it was read', 'Try again when nothing writes to it.');
  };
  // Those in which the files held the same.
  let known = states;
  const checkUsed = async (hasJustStarted: boolean) => {
    const now = await Promise.all(files.map((file) => stateOf(file).catch(() => undefined)));
    const changed = files.find((_, index) => {
      const [then, found] = [known[index]!, now[index]];
      const isThere = found !== undefined && found.ino === then.ino && found.dev === then.dev;
      return isThere ? marksOf(found) !== marksOf(then) : hasJustStarted;
    });
    if (changed === undefined) return;
    // Links and permissions change a file's state, too.
    const { key: found, check: settle } = await keyOf(description, parts, undefined);
    await settle();
    if (found !== key) throw weightsError(changed, 'it was changed after it was loaded', 'Load the model again.');
    known = now.map((state, index) => state ?? known[index]!);
  };
  const places = parts.map(({ as, text, file, offset, byteLength }) => [
    ...[as, text, files.indexOf(file), offset, byteLength],
  ]);
  const question = sha256(JSON.stringify([description, states.map(marksOf), places]));
  const bytes = parts.reduce((sum, { byteLength }) => sum + byteLength, 0);
  let key = await recall(question, bytes);
  if (key === undefined) {
    const found = await digests(parts, signal);
    await check();
    key = sha256(JSON.stringify([description, parts.map(({ as, text }, index) => [as, text, found[index]])]));
    if (states.every(isSettled)) await remember(question, key, bytes);
  }
  return { key, check, checkUsed };
}

function marksOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
}

// Clocks of file systems tick: what is written twice within a tick looks unchanged.
const settledMs = 3000;
// FAT's clocks tick so slowly, and a user can set all of its times.
const coarseNs = 10_000_000n;

/** Whether a file that is written to now would be seen to be another. */
function isSettled({ mtimeMs, ctimeMs, ctimeNs, ino }: BigIntStats): boolean {
  const age = Date.now() - Number(mtimeMs > ctimeMs ? mtimeMs : ctimeMs);
  return age > settledMs && ctimeNs % coarseNs !== 0n && ino !== 0n;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
