// What ffmpeg opens: one file, by a descriptor where the system has them, and only in formats that refer to no other file.
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { extname } from 'node:path';
import { absolutePath } from '../base/absolutePath.js';
import { LongVLMError } from '../base/errors.js';
import { fileError } from '../base/fileError.js';
import { printable } from '../base/printable.js';
import { checkRegular, READ_FLAGS } from '../base/regularFile.js';
import type { SettledLimits } from './limits.js';

/** A file that ffmpeg opens. */
export type InputFile = {
  /** An absolute path. */
  readonly path: string;
  /** The path as it was given; for other inputs the name. */
  readonly given: string;
  /** Name of the file in messages. */
  readonly name: string;
  readonly limits: SettledLimits;
  /** Whether it may be a list of other files. */
  readonly lists: boolean;
};

/** An argument of ffmpeg. A file stands for the options that open it. */
export type Argument = string | InputFile;

/** A local file, which messages call by its path. */
export function localFile(path: string, limits: SettledLimits): InputFile {
  return { path: absolutePath(path), given: path, name: printable(path), limits, lists: limits.lists };
}

/** Names of formats of ffmpeg whose files hold pictures, and refer to no other file. */
const PICTURES = [
  ...['mov', 'mp4', 'matroska', 'webm', 'avi', 'flv', 'live_flv', 'kux', 'asf', 'asf_o', 'mpegts', 'mpeg'],
  ...['ogg', 'nut', 'mxf', 'gxf', 'rm', 'wtv', 'dv', 'swf', 'nsv', 'ivr', 'dhav', 'mjpeg', 'mjpeg_2000'],
  ...['mpjpeg', 'smjpeg', 'ty', 'h261', 'h263', 'h264', 'hevc', 'vvc', 'evc', 'apv', 'm4v', 'mpegvideo', 'vc1'],
  ...['vc1test', 'dirac', 'cavsvideo', 'av1', 'obu', 'ivf', 'avs2', 'avs3', 'dnxhd', 'ipu', 'yuv4mpegpipe'],
  ...['gif', 'apng', 'jpegxl_anim', 'fits', 'ico', 'image2', 'txd', 'cine', 'ser', 'r3d', 'lxf', 'filmstrip'],
  ...['iff', 'nuv', 'pva', 'pmp', 'mtv', 'mods', 'moflex', '4xm', 'argo_brp', 'avs', 'bethsoftvid', 'bfi'],
  ...['bink', 'bmv', 'c93', 'cdg', 'cdxl', 'dfa', 'dsicin', 'dxa', 'ea', 'ea_cdata', 'film_cpk', 'flic', 'frm'],
  ...['gdv', 'hnm', 'idcin', 'ifv', 'ingenient', 'ipmovie', 'iv8', 'jv', 'lmlm4', 'luodat', 'lvf', 'mgsts'],
  ...['mm', 'msnwctcp', 'musx', 'mv', 'mvi', 'mxg', 'nc', 'paf', 'pdv', 'psxstr', 'rl2', 'roq', 'rpl', 'sdr2'],
  ...['sga', 'siff', 'simbiosis_imx', 'smk', 'smush', 'thp', 'tiertexseq', 'tmv', 'usm', 'vividas', 'vivo'],
  ...['vmd', 'wc3movie', 'wsvqa', 'xmv', 'yop', 'alias_pix', 'brender_pix'],
  ...['bmp', 'cri', 'dds', 'dpx', 'exr', 'gem', 'gif', 'hdr', 'j2k', 'jpeg', 'jpegls', 'jpegxl'].map(pipe),
  ...['jpegxs', 'pam', 'pbm', 'pcx', 'pfm', 'pgm', 'pgmyuv', 'pgx', 'phm', 'photocd', 'pictor', 'png'].map(pipe),
  ...['ppm', 'psd', 'qdraw', 'qoi', 'sgi', 'sunrast', 'tiff', 'vbn', 'webp', 'xbm', 'xpm', 'xwd'].map(pipe),
];

/** Sound is let in, so that the error can say that the file has no pictures. */
const SOUND = [
  ...['mp3', 'wav', 'w64', 'flac', 'aac', 'ac3', 'eac3', 'dts'],
  ...['aiff', 'amr', 'au', 'caf', 'ape', 'tta', 'wv'],
];

function pipe(codec: string): string {
  return `${codec}_pipe`;
}

/**
 * Whether ffmpeg can open what Node has open. Then it neither sees a name, in which it would look for patterns of many
 * pictures, nor finds files beside it; and what it opens is what was checked.
 */
const DESCRIPTORS = ['linux', 'darwin', 'android'].includes(process.platform) && existsSync('/dev/fd');

// A recording of the format mlv goes on in files beside it, which are found by name.
const FORMATS = [...PICTURES, ...(DESCRIPTORS ? ['mlv'] : []), ...SOUND].join(',');

/** What ffmpeg counts beside the pixels: it rounds widths up to 64. The exact limit is checked beforehand. */
const ALIGNMENT = 64 * 65_536;
/** How much a list is taken to lead to. */
const LISTED_BYTES = 2 ** 30;
/** Formats that are lists of other files, and how their text begins. */
const LISTS: Record<string, RegExp> = {
  hls: /^\uFEFF?#EXTM3U/,
  concat: /^ffconcat version 1\.0/,
  dash: /<MPD[\s>]/,
  imf: /<CompositionPlaylist[\s>]/,
};

/** Names of formats that are lists, of which some are never read. */
export const LIST_FORMATS = [...Object.keys(LISTS), 'webm_dash_manifest', 'sdp', 'rtsp'];

/** Pictures whose content does not show their format, which ffmpeg tells by the ending. */
const BY_ENDING: Record<string, string> = { '.tga': 'targa', '.icb': 'targa', '.vda': 'targa', '.vst': 'targa' };
/** Names in which ffmpeg looks for a pattern of many pictures, where it gets a name. */
const IMAGE_PATTERN =
  /[%*?{[].*\.(png|jpe?g|jp[s2c]|mpo|ljpg|jls|jxl|j2[kc]|webp|bmp|tiff?|tga|gif|p[abfgnp]m|pcx|pi?ct|sgi|rgba?|sun|ras|x[bpw][dm]|dds|dpx|exr|hdr|qoi|psd)$/i;

/** Options that open a file, and what it takes. */
export type OpenedInput = {
  readonly options: readonly string[];
  /** What ffmpeg calls it. */
  readonly locator: string;
  readonly bytes: number;
  /** To be passed on as descriptor `number`, and to be closed. */
  readonly descriptor: number | undefined;
};

/**
 * Opens `file` for an ffmpeg that gets it as descriptor `number`. Nothing waits: the path may lead to a pipe by now.
 *
 * @throws LongVLMError `ERR_LONGVLM_FILE`
 */
export function openInput(file: InputFile, number: number): OpenedInput {
  const { name, path, limits } = file;
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, READ_FLAGS);
    const found = fstatSync(descriptor);
    checkRegular(name, found);
    const list = file.lists ? listFormat(beginning(descriptor)) : undefined;
    const named = !DESCRIPTORS || list !== undefined;
    const locator = named ? `file:${path}` : `file:/dev/fd/${number}`;
    const options = [
      ...[
        '-protocol_whitelist',
        list ? 'file,crypto,data' : 'file',
        '-max_pixels',
        `${Math.min(limits.maxPixels + ALIGNMENT, 2 ** 31 - 1)}`,
      ],
      ...(list ? ['-f', list] : ['-format_whitelist', FORMATS, ...pictureOptions(path, descriptor)]),
      ...['-i', locator],
    ];
    if (named) {
      closeSync(descriptor);
      descriptor = undefined;
    }
    return { options, locator, bytes: list ? LISTED_BYTES : found.size, descriptor };
  } catch (error) {
    if (descriptor !== undefined) closeSync(descriptor);
    throw error instanceof LongVLMError ? error : fileError(name, error);
  }
}

function beginning(descriptor: number): Buffer {
  const bytes = Buffer.alloc(4096);
  return bytes.subarray(0, readSync(descriptor, bytes, 0, bytes.length, 0));
}

function listFormat(start: Buffer): string | undefined {
  const text = start.toString('utf8');
  return Object.keys(LISTS).find((format) => LISTS[format]!.test(text));
}

/** The options for a picture that would be recognised by its name, or whose name would be taken for a pattern. */
function pictureOptions(path: string, descriptor: number): string[] {
  const codec = BY_ENDING[extname(path).toLowerCase()];
  if (codec !== undefined && isTarga(beginning(descriptor)))
    return ['-f', 'image2', '-pattern_type', 'none', '-c:v', codec];
  return !DESCRIPTORS && IMAGE_PATTERN.test(path) ? ['-f', 'image2', '-pattern_type', 'none'] : [];
}

/** Whether the header can be one of a Targa picture: others, called so, are recognised by their content. */
function isTarga(header: Buffer): boolean {
  const [, palette = 2, kind = 0] = header;
  return header.length >= 18 && palette <= 1 && [1, 2, 3, 9, 10, 11].includes(kind) && header.readUInt32LE(12) !== 0;
}
