import { LongVLM } from '../longvlm.js';
import { loadOptionsToChat, type ModelFlags } from './options.js';
import { ProgressBar } from './progress.js';

/** Loads what the flags name, shows how far that is, and frees it when `use` has ended, however it ends. */
export async function withLongVLM(
  flags: ModelFlags,
  signal: AbortSignal,
  use: (vlm: LongVLM, progress: ProgressBar) => Promise<void>,
): Promise<void> {
  const progress = new ProgressBar();
  let vlm: LongVLM | undefined;
  try {
    vlm = await LongVLM.load({ ...loadOptionsToChat(flags), onProgress: progress.onProgress, signal });
    await use(vlm, progress);
  } finally {
    progress.stop();
    await vlm?.dispose();
  }
}
