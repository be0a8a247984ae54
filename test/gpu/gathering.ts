// Videos that are gathered on the emulated device and on the host, from frames of noise.
import type { Gathering } from '../../dist/encode/gatheredTokens.js';

/** Frames of noise, read by read; each of `bytes` bytes. */
export function* noise(frames: number, framesOfRead: number, bytes: number): Generator<Uint8Array> {
  for (let frame = 0; frame < frames; frame += framesOfRead)
    yield Uint8Array.from({ length: framesOfRead * bytes }, (_, i) => ((frame + 1) * (i + 7) * 7919) % 251);
}

/** Adds all frames; tells how many were encoded after each read, and the tokens where they are. */
export async function addAll(gathering: Gathering, reads: Iterable<Uint8Array>) {
  const encoded: number[] = [];
  for (const frames of reads) encoded.push(await gathering.add(frames));
  // Which token each patch went into is kept on the host alone.
  const { onDevice, owners: _, ...tokens } = await gathering.finish();
  gathering.dispose();
  return { encoded, tokens, onDevice };
}

/** The same, with the tokens on the host. */
export async function gather(gathering: Gathering, reads: Iterable<Uint8Array>) {
  const { onDevice, ...found } = await addAll(gathering, reads);
  await onDevice?.bringDown();
  return found;
}
