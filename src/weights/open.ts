// Opening weights of whatever kind, by what they hold: names of files say little (Ollama's have none).
import { type GgufFile, openGguf } from './gguf.js';
import { openSafetensors, type SafetensorsFile } from './safetensors.js';
import { openFile } from './tensorFile.js';

/** Weights that can be used where they lie. */
export type AnyWeightFile = SafetensorsFile | GgufFile;

/**
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the file cannot be read; `ERR_LONGVLM_WEIGHTS` when it is damaged or of no kind
 * that is known.
 */
export async function openWeights(path: string): Promise<AnyWeightFile> {
  return (await startsWith(path, 'GGUF')) ? openGguf(path) : openSafetensors(path);
}

async function startsWith(path: string, magic: string): Promise<boolean> {
  const handle = await openFile(path);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(magic.length), 0, magic.length, 0);
    return buffer.toString('latin1', 0, bytesRead) === magic;
  } finally {
    await handle.close();
  }
}
