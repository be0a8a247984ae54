import { dialogueLayout } from './dialogue.js';

/**
 * LLaVA-OneVision and LLaVA-Video: all tokens of the video, and the embedding behind them, then the text.
 * Source: its processor in transformers, and the chat template of llava-hf/llava-onevision-qwen2-0.5b-ov-hf.
 */
export const llavaOnevision = dialogueLayout({
  name: 'llava_onevision',
  opening: '',
  system: ['<|im_start|>system \n', '<|im_end|>'],
  user: '<|im_start|>user ',
  afterVideo: '\n',
  assistant: '<|im_end|><|im_start|>assistant\n',
  pastAssistant: '<|im_end|><|im_start|>assistant \n',
  next: '<|im_end|><|im_start|>user \n',
  video: () => [{ video: 'all' }],
});
