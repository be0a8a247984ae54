import { chatMl, dialogueLayout } from './dialogue.js';

/**
 * Qwen2.5-VL: the whole video between two marks, whose times are in the places of its tokens.
 * Source: its processor and chat template in transformers.
 */
export const qwen25Vl = dialogueLayout({
  ...chatMl,
  name: 'qwen2_5_vl',
  systemText: 'You are a helpful assistant.',
  afterVideo: '',
  video: () => ['<|vision_start|>', { video: 'all' }, '<|vision_end|>'],
});
