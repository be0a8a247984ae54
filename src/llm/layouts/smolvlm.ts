import type { PromptVideo } from '../promptLayout.js';
import { twoDigits } from '../promptVideo.js';
import { dialogueLayout, framed, type VideoPiece } from './dialogue.js';
import { numberInWords } from './numberInWords.js';

/**
 * SmolVLM2: how many frames and how long the video is, then the time before each frame. Where a run stands for a segment,
 * segments are counted, and the time is that of the first frame.
 * Source: its processor and chat template for videos in transformers.
 */
export const smolvlm = dialogueLayout({
  name: 'smolvlm',
  opening: '<|im_start|>',
  system: ['System: ', '<end_of_utterance>\n'],
  user: 'User: ',
  afterVideo: '\n\n',
  assistant: '<end_of_utterance>\nAssistant:',
  next: '<end_of_utterance>\nUser: ',
  video,
});

const around = '<fake_token_around_image>';

function video(shown: PromptVideo): VideoPiece[] {
  const count = shown.runs.filter(({ kind }) => kind !== 'global').length;
  const length = durationText(shown.durationSeconds);
  return [
    `You are provided the following series of ${numberInWords(count)} frames from a ${length} [H:MM:SS] video.\n`,
    ...framed(shown, ({ start }) => [
      `\nFrame from ${twoDigits(start / 60)}:${twoDigits(start % 60)}:${around}<global-img>`,
      around,
    ]),
  ];
}

/** `H:MM:SS`, after the days if there are any, as Python writes durations. */
function durationText(seconds: number): string {
  const days = Math.floor(seconds / 86_400);
  const rest = seconds % 86_400;
  const time = `${Math.floor(rest / 3600)}:${twoDigits((rest % 3600) / 60)}:${twoDigits(rest % 60)}`;
  return days === 0 ? time : `${days} day${days === 1 ? '' : 's'}, ${time}`;
}
