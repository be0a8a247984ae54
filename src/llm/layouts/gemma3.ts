import { timeText } from '../promptVideo.js';
import { dialogueLayout, framed } from './dialogue.js';

/**
 * Gemma 3: each frame as a picture before the question; where a run stands for a segment, each segment. It was trained without
 * videos and times: with `timestamps`, that of the run's first frame is before it.
 * Source: its processor in transformers, and the chat template of google/gemma-3-4b-it.
 */
export const gemma3 = dialogueLayout({
  name: 'gemma3',
  opening: '<start_of_turn>user\n',
  system: ['', '\n\n'],
  user: '',
  afterVideo: '',
  trimsQuestion: true,
  assistant: '<end_of_turn>\n<start_of_turn>model\n',
  next: '<end_of_turn>\n<start_of_turn>user\n',
  video: (video) =>
    framed(video, ({ start }) => [
      `${video.timestamps ? timeText(start) : ''}\n\n<start_of_image>`,
      '<end_of_image>\n\n',
    ]),
});
