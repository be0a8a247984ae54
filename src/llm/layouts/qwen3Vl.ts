import type { VideoRun } from '../../base/videoRun.js';
import { chatMl, dialogueLayout, framed } from './dialogue.js';

/**
 * Qwen3-VL: before each pair of frames the mean of their times; before a run that stands for more of them, the mean of the first
 * and the last.
 * Source: its processor and chat template in transformers.
 */
export const qwen3Vl = dialogueLayout({
  ...chatMl,
  name: 'qwen3_vl',
  afterVideo: '',
  video: (video) => framed(video, (run) => [`<${tenths(middleOf(run))} seconds><|vision_start|>`, '<|vision_end|>']),
});

const middleOf = ({ times }: VideoRun) => (times[0]! + times.at(-1)!) / 2;

/** With one decimal place, ties to even, as Python rounds: of such numbers only a quarter and three quarters are ties. */
function tenths(seconds: number): string {
  return (seconds * 4) % 4 === 1 ? `${Math.floor(seconds)}.2` : seconds.toFixed(1);
}
