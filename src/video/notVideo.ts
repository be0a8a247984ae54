import { LongVLMError } from '../base/errors.js';
import { type InputFile, LIST_FORMATS } from './inputFile.js';
import { limitError } from './limits.js';
import type { InputDescription, StreamInfo } from './streamInfo.js';

/** Codecs that draw characters or shapes, and what they draw. */
const DRAWN: Readonly<Record<string, string>> = {
  ansi: 'text',
  bintext: 'text',
  xbin: 'text',
  idf: 'text',
  svg: 'a drawing of shapes (SVG)',
};

function refuse(name: string, cause: string, remedy: string): LongVLMError {
  return new LongVLMError('ERR_LONGVLM_VIDEO', `'${name}' ${cause}. ${remedy}`);
}

/** @throws LongVLMError for a stream that ffmpeg opens, but that is no recording or still. */
export function checkPictures({ name }: InputFile, { codec }: StreamInfo): void {
  const drawn = Object.hasOwn(DRAWN, codec) ? DRAWN[codec] : undefined;
  if (drawn)
    throw refuse(name, `is ${drawn}, not a video or photograph`, 'Give a recording or a picture made of pixels.');
}

/**
 * The error for a file that cannot be used as a video or picture.
 *
 * @param noun What the file should be.
 */
export function notVideo(
  { name, lists, limits }: InputFile,
  description: InputDescription,
  complaint: string,
  noun = 'video',
): LongVLMError {
  const { container, seen, hasMoving } = description;
  const format = /Format not on whitelist: ([\w,]+)/.exec(complaint)?.[1];
  if (format !== undefined)
    return LIST_FORMATS.includes(format) && !lists
      ? refuse(
          name,
          `is in the format ${format}, a list that may refer to other files, and lists are not read`,
          'Give one of the files in it, or, for a list at a local path that you trust, set the limit lists (--allow-lists).',
        )
      : refuse(
          name,
          `is in the format ${format}, which holds no recording or picture that can be read`,
          'Convert it, for example to MP4 or PNG.',
        );
  if (/exceeds specified max pixel count/.test(complaint))
    return limitError(name, `has pictures of more than ${limits.maxPixels} pixels`, 'maxPixels');
  const because = complaint ? `: ${complaint}` : '';
  const whole = `Check that it is a complete ${noun} file.`;
  if (container === '') {
    const cut = /moov atom not found/.test(complaint);
    const remedy = cut ? 'The file is incomplete: copy or download it again.' : whole;
    return refuse(name, `is not a ${noun} that ffmpeg can read${because}`, remedy);
  }
  if (container === 'webp_pipe')
    return refuse(
      name,
      'is an animated WebP, which this ffmpeg cannot decode, or a damaged one',
      'Convert an animation to MP4 or GIF with another program.',
    );
  if (hasMoving) return refuse(name, `holds a video stream without pictures${because}`, whole);
  const only = seen.has('Audio') ? `, only sound${seen.has('Video') ? ' and a cover' : ''}` : '';
  return refuse(name, `holds no ${noun === 'video' ? 'video stream' : noun}${only}`, whole);
}
