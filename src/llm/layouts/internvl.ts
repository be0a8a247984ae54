import { timeText } from '../promptVideo.js';
import { chatMl, dialogueLayout, framed } from './dialogue.js';

/**
 * InternVL 2.5, 3 and 3.5: frames are numbered; where a run stands for a segment, segments are. It was trained without times:
 * with `timestamps`, that of the run's first frame follows the number.
 * Source: its processor and chat template in transformers.
 */
export const internvl = dialogueLayout({
  ...chatMl,
  name: 'internvl',
  afterVideo: '\n',
  video: (video) =>
    framed(video, ({ start }, index) => {
      const time = video.timestamps ? ` ${timeText(start)}` : '';
      return [`${index > 0 ? '\n' : ''}Frame${index + 1}${time}: <img>`, '</img>'];
    }),
});
