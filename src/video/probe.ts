import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { LongVLMError } from '../base/errors.js';
import { causeOf, fileError, isMissing, missingRemedy } from '../base/fileError.js';
import { checkObject, checkSignal, checkString } from '../base/validate.js';
import { checkNotKilled, type Source } from './decode.js';
import { checkNotEncrypted } from './encrypted.js';
import { readOrientation } from './exif.js';
import { type FfmpegBinary, findFfmpeg } from './ffmpeg.js';
import { FfmpegProcess } from './ffmpegProcess.js';
import { FileFrames } from './fileFrames.js';
import { findFrames } from './findFrames.js';
import type { FrameSource } from './frameSource.js';
import { type InputFile, localFile } from './inputFile.js';
import { checkLimits, checkPixels, limitError, type VideoLimits } from './limits.js';
import { measureStart } from './measureStart.js';
import { checkPictures, notVideo } from './notVideo.js';
import { checkPacketCount, PacketParser, packetArguments } from './packets.js';
import { inSandbox } from './sandbox.js';
import { InputDescription, mainStream, type StreamInfo } from './streamInfo.js';
import { findTurn, turnedBy, UPRIGHT } from './turn.js';

/** Properties of a video, from {@link probeVideo}. */
export type VideoInfo = {
  /** The given path; for inputs without one (a URL, bytes, a list of pictures), the video's name. */
  readonly path: string;
  /** A moving video, a still picture (a video of one frame), or a list of pictures. */
  readonly kind: 'video' | 'image' | 'pictures';
  /** Seconds from the first frame to the end of the last; 0 for a picture. */
  readonly durationSeconds: number;
  /** Number of frames that a decoder outputs. */
  readonly frameCount: number;
  /** Frames per second on average; 0 for a picture. */
  readonly frameRate: number;
  /** Whether frames are unevenly spaced in time. */
  readonly variableFrameRate: boolean;
  /** Stored size in pixels: before {@link VideoInfo.rotation}, ignoring the sample aspect ratio. */
  readonly width: number;
  readonly height: number;
  /** Clockwise rotation of the stored picture for display, in degrees, after {@link VideoInfo.mirrored}. */
  readonly rotation: 0 | 90 | 180 | 270;
  /** Whether the stored picture is mirrored left to right for display. */
  readonly mirrored: boolean;
  /** The codec by ffmpeg's name, such as `h264`. */
  readonly codec: string;
  /** The container by ffmpeg's names, such as `mov,mp4,m4a,3gp,3g2,mj2`. */
  readonly container: string;
  /** Problems of a file that can still be read, in sentences. */
  readonly warnings: readonly string[];
  /** @internal */
  readonly frameSource: FrameSource;
};

/** Options of {@link probeVideo}. */
export type ProbeOptions = {
  /** Path of the ffmpeg program. Defaults to the environment's `FFMPEG_PATH`, the package ffmpeg-static, then `PATH`. */
  ffmpeg?: string;
  /** Aborts the work: the promise rejects with `signal.reason`. */
  signal?: AbortSignal | null;
  /** Limits of what is decoded, and whether playlists are read. */
  limits?: VideoLimits;
};

/** Options for files whose first picture comes late. They take memory, so others are opened without. */
const PATIENT = ['-probesize', '200M', '-analyzeduration', '600M'];
/** Codecs whose pictures may say themselves how they are to be turned. */
const SELF_TURNING = new Set(['h264', 'hevc', 'vvc', 'mjpeg', 'png', 'apng', 'webp', 'jpegxl']);

/**
 * Probes a video or picture: its size, and the exact number and times of its frames.
 *
 * The file is read once without decoding, and its first frames are decoded. If these show that packets do not correspond to
 * frames (in VP8, or AVI with B-frames), the whole file is decoded.
 *
 * @throws TypeError, RangeError for wrong arguments.
 * @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_VIDEO`, `ERR_LONGVLM_LIMIT`, `ERR_LONGVLM_FFMPEG` or
 * `ERR_LONGVLM_FFMPEG_MISSING`.
 * @example const { frameCount, durationSeconds } = await probeVideo('talk.mp4')
 */
export async function probeVideo(path: string, options: ProbeOptions = {}): Promise<VideoInfo> {
  checkString('path', path);
  const { ffmpeg, limits, ...given } = checkObject('options', options);
  if (ffmpeg !== undefined) checkString('ffmpeg', ffmpeg);
  const signal = checkSignal(given.signal);
  return probeFile(localFile(path, checkLimits(limits)), { ffmpeg, signal });
}

/** Does the work of {@link probeVideo}, for any file. */
export async function probeFile(
  file: InputFile,
  { ffmpeg, signal }: { readonly ffmpeg?: string | undefined; readonly signal?: AbortSignal | undefined },
): Promise<VideoInfo> {
  signal?.throwIfAborted();
  await checkFile(file);
  const binary = await inSandbox(await findFfmpeg(ffmpeg), file.lists ? 'none' : file.limits.sandbox);
  signal?.throwIfAborted();

  let reading = await readPackets(file, binary, [], signal);
  if (!reading.chosen && reading.description.hasMoving) reading = await readPackets(file, binary, PATIENT, signal);
  const { description, chosen, complaint } = reading;
  await checkNotEncrypted(file, description, chosen !== undefined);
  if (!chosen) throw notVideo(file, description, complaint);
  const { stream, packets } = chosen;
  const { container } = description;
  checkPictures(file, stream);
  checkPixels(file, stream);
  const source: Source = { binary, file, stream: stream.stream, timeBase: packets.timeBase };
  const kind = /(^|,)image2|_pipe$/.test(container) ? 'image' : 'video';
  const [{ table, warnings: timeWarnings }, turn, startSeconds] = await allOf([
    findFrames(source, packets, stream, { container, complaint }, signal),
    turnOf(source, stream, kind, signal),
    Promise.resolve(description.startSeconds ?? measureStart(source, packets, signal)),
  ]);
  const warnings = turn.warning === undefined ? timeWarnings : [turn.warning, ...timeWarnings];

  if (table.length > file.limits.maxFrames) throw tooManyFrames(file);
  const tick = packets.timeBase.num / packets.timeBase.den;
  const { length, pts } = table;
  const ticks = pts[length - 1]! - pts[0]!;
  const average = ((length - 1) * packets.timeBase.den) / (ticks * packets.timeBase.num);
  const frameRate = kind === 'image' ? 0 : ticks > 0 ? average : stream.frameRate;
  const lastSeconds = packets.lastDuration > 0 ? packets.lastDuration * tick : frameRate > 0 ? 1 / frameRate : 0;
  const durationSeconds = kind === 'image' ? 0 : ticks * tick + lastSeconds;
  const { maxSeconds } = file.limits;
  if (durationSeconds > maxSeconds)
    throw limitError(file.name, `lasts ${durationSeconds.toFixed(1)} s, more than ${maxSeconds}`, 'maxSeconds');
  const damage = damageOf(reading, { name: file.name, frames: length, seconds: durationSeconds });
  return {
    path: file.given,
    kind,
    durationSeconds,
    frameCount: length,
    frameRate,
    variableFrameRate: isUneven(pts, 2),
    width: stream.width,
    height: stream.height,
    rotation: turn.rotation,
    mirrored: turn.mirrored,
    codec: stream.codec,
    container,
    warnings: damage === undefined ? warnings : [damage, ...warnings],
    // The times of frames are never below zero.
    frameSource: new FileFrames(
      { ...source, turnedBy: turnedBy(turn) },
      table,
      { width: stream.width, height: stream.height, turn },
      Math.min(startSeconds, pts[0]! * tick),
    ),
  };
}

/**
 * @param noun What the file should be, in messages.
 * @throws LongVLMError `ERR_LONGVLM_FILE` when it cannot be read, `ERR_LONGVLM_VIDEO` when it is empty
 */
export async function checkFile({ path, given, name }: InputFile, noun = 'video'): Promise<void> {
  const fail = (cause: string, remedy: string, error?: unknown): never => {
    throw new LongVLMError('ERR_LONGVLM_FILE', `Cannot read '${name}': ${cause}. ${remedy}`, { cause: error });
  };
  try {
    const entry = await stat(path);
    if (entry.isDirectory()) fail('it is a directory', `Give the path of a ${noun} file.`);
    if (!entry.isFile()) fail('it is not a regular file', `Save the ${noun} to a file first, or give a stream.`);
    await access(path, constants.R_OK);
    if (entry.size === 0)
      throw new LongVLMError('ERR_LONGVLM_VIDEO', `'${name}' is empty, 0 bytes. Copy or download the ${noun} again.`);
  } catch (error) {
    if (error instanceof LongVLMError) throw error;
    if (isMissing(error)) fail('there is no such file', missingRemedy(given, 'Check the path.'), error);
    fail(...causeOf(error), error);
  }
}

async function readPackets(
  file: InputFile,
  binary: FfmpegBinary,
  inputOptions: readonly string[],
  signal: AbortSignal | undefined,
) {
  // It may have gone since it was checked.
  const { size } = await stat(file.path).catch((error: unknown) => Promise.reject(fileError(file.given, error)));
  const description = new InputDescription();
  const parser = new PacketParser();
  const args = [...inputOptions, file, ...description.outputArguments(), ...packetArguments];
  const ffmpeg = new FfmpegProcess(binary, args, signal, (line) => description.add(line));
  try {
    for (let chunk = await ffmpeg.read(); chunk; chunk = await ffmpeg.read()) {
      parser.add(chunk);
      checkPacketCount(parser.count, size, description.container, file.name);
      if (parser.count > file.limits.maxFrames) throw tooManyFrames(file);
    }
    const exit = await ffmpeg.closed;
    signal?.throwIfAborted();
    checkNotKilled(exit, file);
    const packetsOf = parser.finish();
    const found = description.streams().map((stream, i) => ({ stream, packets: packetsOf[i]! }));
    const chosen = mainStream(found.filter(({ packets }) => packets?.pts.length > 0));
    return { description, chosen, complaint: ffmpeg.complaint };
  } finally {
    await ffmpeg.dispose();
  }
}

function tooManyFrames({ name, limits }: InputFile): LongVLMError {
  return limitError(name, `has more than ${limits.maxFrames} frames`, 'maxFrames');
}

/** The results of all. Ends only when all have, so that an error leaves no process behind. */
async function allOf<T extends readonly unknown[]>(work: { [K in keyof T]: Promise<T[K]> }): Promise<T> {
  await Promise.allSettled(work);
  return (await Promise.all(work)) as unknown as T;
}

/** How the pictures of a stream are turned, by what they say themselves and by what ffmpeg makes of it. */
async function turnOf(source: Source, { codec, angle }: StreamInfo, kind: VideoInfo['kind'], signal?: AbortSignal) {
  if (kind !== 'image' && angle === undefined && !SELF_TURNING.has(codec)) return { ...UPRIGHT, byFfmpeg: false };
  const orientation = kind === 'image' ? await readOrientation(source.file.path) : undefined;
  return findTurn(source, { angle, orientation }, signal);
}

/** What is to be said of a file that is not whole. */
function damageOf(
  { description, chosen, complaint }: Awaited<ReturnType<typeof readPackets>>,
  used: { readonly name: string; readonly frames: number; readonly seconds: number },
): string | undefined {
  const { name, frames, seconds } = used;
  const gaps = chosen!.packets.corrupt;
  if (complaint === '' && gaps === 0) return undefined;
  const announced = description.durationSeconds ?? 0;
  const share =
    announced > seconds + 0.1 ? `, ${seconds.toFixed(1)} of the ${announced.toFixed(1)} s that it announces,` : '';
  // In transport streams, packets are numbered: ffmpeg says where the numbers do not go on.
  if (complaint === '' && /\bmpegts\b/.test(description.container)) {
    const places = gaps === 1 ? 'one place' : `${gaps} places`;
    return `'${name}' lacks data in ${places}, as where recordings were joined or badly received: ${frames} frames${share} are used.`;
  }
  return `'${name}' is damaged or cut short${complaint ? ` (${complaint})` : ''}: ${frames} frames${share} are used.`;
}

/** Whether the intervals between frames differ by more than `rounding` plus a tenth. */
export function isUneven(pts: Float64Array | readonly number[], rounding: number): boolean {
  let shortest = Number.POSITIVE_INFINITY;
  let longest = 0;
  for (let i = 1; i < pts.length; i++) {
    const step = pts[i]! - pts[i - 1]!;
    shortest = Math.min(shortest, step);
    longest = Math.max(longest, step);
  }
  return pts.length > 2 && longest - shortest > Math.max(rounding, 0.1 * shortest);
}
