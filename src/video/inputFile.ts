import { resolve } from 'node:path';

/** A file that ffmpeg opens. */
export type InputFile = {
  readonly path: string;
  /** Name of the file in messages. */
  readonly name: string;
  /**
   * Whether the content is from an untrusted source (a URL, bytes). Then only self-contained formats are opened: a playlist
   * could make ffmpeg read any local file.
   */
  readonly foreign: boolean;
};

/** A local file, which messages call by its path. */
export function localFile(path: string): InputFile {
  return { path, name: path, foreign: false };
}

/** ffmpeg's names of formats with pictures that cannot refer to other files. */
const SELF_CONTAINED = [
  ...['mov', 'mp4', 'matroska', 'webm', 'avi', 'flv', 'live_flv', 'asf', 'mpegts', 'mpeg', 'ogg', 'nut', 'mxf', 'gxf'],
  ...['rm', 'wtv', 'dv', 'swf', 'nsv', 'ivr', 'dhav', 'film_cpk', 'roq', 'bink', 'smk', 'mjpeg', 'mpjpeg', 'smjpeg'],
  ...['h261', 'h263', 'h264', 'hevc', 'vvc', 'm4v', 'mpegvideo', 'vc1', 'vc1test', 'dirac', 'cavsvideo', 'av1', 'obu'],
  ...['ivf', 'avs2', 'avs3', 'dnxhd', 'yuv4mpegpipe', 'gif', 'apng', 'fits', 'image2', 'ico'],
  ...['bmp', 'dds', 'dpx', 'exr', 'gif', 'j2k', 'jpeg', 'jpegls', 'jpegxl', 'pam', 'pbm', 'pcx', 'pfm', 'pgm'].map(
    pipe,
  ),
  ...['png', 'ppm', 'psd', 'qoi', 'sgi', 'sunrast', 'tiff', 'webp', 'xbm', 'xpm', 'xwd', 'hdr', 'phm'].map(pipe),
  // Audio formats: allowed, so that the error says that the file has no pictures.
  ...['mp3', 'wav', 'flac', 'aac'],
];

function pipe(codec: string): string {
  return `${codec}_pipe`;
}

const IMAGE_PATTERN = /[%*?{[].*\.(png|jpe?g|webp|bmp|tiff?)$/i;

/**
 * The options that open `file` as one plain local file. Neither a name like `-y` or `http:x` nor the content of a playlist can
 * access anything except local files, and `%03d` in a picture's name is not treated as a sequence.
 */
export function inputArguments({ path, foreign }: InputFile): string[] {
  const single = IMAGE_PATTERN.test(path) ? ['-f', 'image2', '-pattern_type', 'none'] : [];
  const formats = foreign ? ['-format_whitelist', SELF_CONTAINED.join(',')] : [];
  return ['-protocol_whitelist', 'file,pipe', ...formats, ...single, '-i', locator(path)];
}

/** ffmpeg's error message, with the file's name in messages instead of its path. */
export function complaintAbout({ path, name }: InputFile, complaint: string): string {
  return complaint.replaceAll(locator(path), name);
}

function locator(path: string): string {
  return `file:${resolve(path)}`;
}
