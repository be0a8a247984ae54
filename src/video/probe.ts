import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { LongVLMError, messageOf } from '../base/errors.js';
import { checkObject, checkSignal, checkString } from '../base/validate.js';
import { checkNotKilled, decodeTimes, type Source } from './decode.js';
import { type FfmpegBinary, findFfmpeg } from './ffmpeg.js';
import { FfmpegProcess, inputArguments } from './ffmpegProcess.js';
import { FrameTable } from './frameTable.js';
import { PacketParser, type Packets, packetArguments } from './packets.js';
import { InputDescription, type StreamInfo } from './streamInfo.js';

/** What {@link probeVideo} finds out about a video. */
export type VideoInfo = {
  /** The path as it was given. */
  readonly path: string;
  /** Whether it moves or is a still picture, which is a video of one frame. */
  readonly kind: 'video' | 'image';
  /** Seconds from the first frame to the end of the last; 0 for a picture. */
  readonly durationSeconds: number;
  /** How many frames a decoder gives. */
  readonly frameCount: number;
  /** Frames per second on average; 0 for a picture. */
  readonly frameRate: number;
  /** Whether the frames are unevenly spaced. */
  readonly variableFrameRate: boolean;
  /** Size in pixels as stored: before {@link VideoInfo.rotation}, whatever the shape of a pixel. */
  readonly width: number;
  readonly height: number;
  /** By how many degrees clockwise the stored picture is turned for display. */
  readonly rotation: 0 | 90 | 180 | 270;
  /** The codec by ffmpeg's name, such as `h264`. */
  readonly codec: string;
  /** The container by ffmpeg's names, such as `mov,mp4,m4a,3gp,3g2,mj2`. */
  readonly container: string;
  /** What is wrong with the file although it can be read, in sentences. */
  readonly warnings: readonly string[];
  /** @internal */
  readonly table: FrameTable;
  /** @internal */
  readonly source: Source;
  /** @internal */
  readonly startSeconds: number;
};

/** Options of {@link probeVideo}. */
export type ProbeOptions = {
  /** Path of the ffmpeg program. Defaults to the environment's `FFMPEG_PATH`, the package ffmpeg-static, then `PATH`. */
  ffmpeg?: string;
  /** Ends the work: the promise rejects with `signal.reason`. */
  signal?: AbortSignal;
};

/** Frames that are decoded to see whether packets and frames correspond: more than any decoder reorders. */
const CHECKED_FRAMES = 64;

/**
 * Looks at a video or picture: its size, and the exact number and times of its frames.
 *
 * The file is read once, without decoding it, and its first frames are decoded. Only where these show that packets
 * are not frames (in VP8, or AVI with B-frames) is all of it decoded.
 *
 * @throws TypeError, RangeError for wrong arguments.
 * @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_VIDEO` or `ERR_LONGVLM_FFMPEG_MISSING`.
 * @example const { frameCount, durationSeconds } = await probeVideo('talk.mp4')
 */
export async function probeVideo(path: string, options: ProbeOptions = {}): Promise<VideoInfo> {
  checkString('path', path);
  const { ffmpeg, signal } = checkObject('options', options);
  if (ffmpeg !== undefined) checkString('ffmpeg', ffmpeg);
  checkSignal(signal);
  signal?.throwIfAborted();
  await checkFile(path);
  const binary = await findFfmpeg(ffmpeg);
  signal?.throwIfAborted();

  const { description, packetsOf, complaint } = await readPackets(path, binary, signal);
  const found = largestStream(description, packetsOf);
  if (!found) throw notVideo(path, description, complaint);
  const { stream, packets } = found;
  const { container } = description;
  const source: Source = { binary, path, stream: stream.stream, timeBase: packets.timeBase };
  const table = await findFrames(source, packets, stream, container, signal);

  const kind = /(^|,)image2|_pipe$/.test(container) ? 'image' : 'video';
  const tick = packets.timeBase.num / packets.timeBase.den;
  const { length, pts } = table;
  const ticks = pts[length - 1]! - pts[0]!;
  const average = ((length - 1) * packets.timeBase.den) / (ticks * packets.timeBase.num);
  const frameRate = kind === 'image' ? 0 : length > 1 ? average : stream.frameRate;
  const lastSeconds = packets.lastDuration > 0 ? packets.lastDuration * tick : frameRate > 0 ? 1 / frameRate : 0;
  return {
    path,
    kind,
    durationSeconds: kind === 'image' ? 0 : ticks * tick + lastSeconds,
    frameCount: length,
    frameRate,
    variableFrameRate: isUneven(pts),
    width: stream.width,
    height: stream.height,
    rotation: stream.rotation,
    codec: stream.codec,
    container,
    warnings: complaint || packets.corrupt > 0 ? [damage(path, complaint, length, description.durationSeconds)] : [],
    table,
    source,
    startSeconds: description.startSeconds,
  };
}

async function checkFile(path: string): Promise<void> {
  const fail = (cause: string, remedy: string, error?: unknown): never => {
    throw new LongVLMError('ERR_LONGVLM_FILE', `Cannot read '${path}': ${cause}. ${remedy}`, { cause: error });
  };
  try {
    const entry = await stat(path);
    if (entry.isDirectory()) fail('it is a directory', 'Give the path of a video file.');
    if (!entry.isFile()) fail('it is not a regular file', 'Save the video to a file first.');
    await access(path, constants.R_OK);
    if (entry.size === 0)
      throw new LongVLMError('ERR_LONGVLM_VIDEO', `'${path}' is empty, 0 bytes. Copy or download the video again.`);
  } catch (error) {
    if (error instanceof LongVLMError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') fail('there is no such file', 'Check the path.', error);
    fail(messageOf(error), 'Check its permissions.', error);
  }
}

async function readPackets(path: string, binary: FfmpegBinary, signal: AbortSignal | undefined) {
  const description = new InputDescription();
  const parser = new PacketParser();
  const ffmpeg = new FfmpegProcess(binary, [...inputArguments(path), ...packetArguments], signal, (line) =>
    description.add(line),
  );
  try {
    for (let chunk = await ffmpeg.read(); chunk; chunk = await ffmpeg.read()) parser.add(chunk);
    const exit = await ffmpeg.closed;
    signal?.throwIfAborted();
    checkNotKilled(exit, path);
    return { description, packetsOf: parser.finish(), complaint: ffmpeg.complaint };
  } finally {
    await ffmpeg.dispose();
  }
}

/** The stream with the largest picture, the first of equal ones; undefined when none has a picture. */
function largestStream(description: InputDescription, packetsOf: readonly Packets[]) {
  let best: { stream: StreamInfo; packets: Packets } | undefined;
  for (const [i, number] of description.copied.entries()) {
    const packets = packetsOf[i];
    const stream = description.streams.find((candidate) => candidate.stream === number);
    if (!stream || !packets?.pts.length || stream.width * stream.height === 0) continue;
    if (!best || stream.width * stream.height > best.stream.width * best.stream.height) best = { stream, packets };
  }
  return best;
}

/** The frames as the decoder gives them, from the packets where these can be relied on. */
async function findFrames(
  source: Source,
  packets: Packets,
  stream: StreamInfo,
  container: string,
  signal: AbortSignal | undefined,
): Promise<FrameTable> {
  // VP8 has packets that are never shown, anywhere.
  const table = stream.codec === 'vp8' ? undefined : FrameTable.fromPackets(packets, container);
  if (table) {
    const { times } = await decodeTimes(source, { maxFrames: CHECKED_FRAMES, absolute: true }, signal);
    const first = times.length > 0 ? table.indexOf(times[0]!) : -1;
    const agrees = first >= 0 && times.every((time, i) => time === table.pts[first + i]);
    const complete = times.length >= Math.min(CHECKED_FRAMES, table.length - first);
    // A recording may begin in the middle of a group of pictures: what comes before its first keyframe is lost.
    if (agrees && complete) return first === 0 ? table : table.withoutFirst(first, packets, container);
  }
  const { times, complaint } = await decodeAll(source, signal);
  if (times.length === 0)
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `No picture of '${source.path}' (${stream.codec}) can be decoded${complaint ? `: ${complaint}` : ''}. Convert it with another program, or use an ffmpeg that has its decoder.`,
    );
  return FrameTable.fromDecoded(packets, times, stream.frameRate, container);
}

/** Decodes everything; where timestamps start anew in the middle, they are taken as ffmpeg mends them. */
async function decodeAll(source: Source, signal: AbortSignal | undefined) {
  const decoded = await decodeTimes(source, { absolute: true }, signal);
  const rising = decoded.times.every((time, i, all) => i === 0 || time > all[i - 1]!);
  return rising ? decoded : { ...decoded, times: decoded.times.map(() => Number.NaN) };
}

function notVideo(path: string, description: InputDescription, complaint: string): LongVLMError {
  const cause =
    description.container === ''
      ? `is not a video that ffmpeg can read${complaint ? `: ${complaint}` : ''}`
      : description.streams.length > 0 && !/matches no streams/.test(complaint)
        ? `holds a video stream without pictures${complaint ? `: ${complaint}` : ''}`
        : `holds no video stream${description.hasAudio ? ', only sound' : ''}`;
  const remedy = /moov atom not found/.test(complaint)
    ? 'The file is incomplete: copy or download it again.'
    : 'Check that it is a complete video file.';
  return new LongVLMError('ERR_LONGVLM_VIDEO', `'${path}' ${cause}. ${remedy}`);
}

function damage(path: string, complaint: string, frames: number, seconds: number | undefined): string {
  const says = seconds === undefined ? '' : ` of the ${seconds.toFixed(1)} s that it announces`;
  return `'${path}' is damaged or cut short${complaint ? ` (${complaint})` : ''}: ${frames} frames${says} are used.`;
}

/** Whether the steps between frames differ by more than rounding to ticks. */
function isUneven(pts: Float64Array): boolean {
  let shortest = Number.POSITIVE_INFINITY;
  let longest = 0;
  for (let i = 1; i < pts.length; i++) {
    const step = pts[i]! - pts[i - 1]!;
    shortest = Math.min(shortest, step);
    longest = Math.max(longest, step);
  }
  return pts.length > 2 && longest - shortest > Math.max(2, 0.1 * shortest);
}
