import { LongVLM } from '../longvlm.js';
import { loadOptionsToChat, type ModelFlags } from './options.js';
import { ProgressBar } from './progress.js';

/**
 * Loads what the flags name, shows how far that is, and frees it when `use` has ended, however it ends.
 * @param read makes options of the flags. Defaults to those of a command that needs a language model.
 */
export async function withLongVLM(
  flags: ModelFlags,
  signal: AbortSignal,
  use: (vlm: LongVLM, progress: ProgressBar) => Promise<void>,
  read = loadOptionsToChat,
): Promise<void> {
  const progress = new ProgressBar();
  let vlm: LongVLM | undefined;
  try {
    vlm = await LongVLM.load({ ...read(flags), onProgress: progress.onProgress, signal });
    await use(vlm, progress);
  } finally {
    progress.stop();
    await vlm?.dispose();
  }
}
