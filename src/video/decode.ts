import { LongVLMError } from '../base/errors.js';
import type { FfmpegBinary } from './ffmpeg.js';
import { type FfmpegExit, FfmpegProcess } from './ffmpegProcess.js';
import type { SeekPoint } from './frameTable.js';
import type { Argument, InputFile } from './inputFile.js';
import { IS_KEYFRAME } from './seekProof.js';
import { ShownFrames } from './shownFrames.js';

/** A stream of pictures, and the ffmpeg that decodes it. */
export type DecodedStream = {
  readonly binary: FfmpegBinary;
  readonly file: InputFile;
  /** How ffmpeg calls the stream, as in `V:0`. */
  readonly stream: string;
  /** Who turns the pictures; nobody if they are stored as they are shown. */
  readonly turnedBy?: 'filters' | 'ffmpeg' | undefined;
};

/** A video stream whose times count in ticks of `timeBase` seconds. */
export type Source = DecodedStream & { readonly timeBase: { readonly num: number; readonly den: number } };

/** How {@link decoderInput} opens a stream. */
export type DecoderOptions = {
  /** Where decoding begins; the beginning of the file without it. */
  readonly seek?: SeekPoint | undefined;
  readonly threads?: number | undefined;
  /** Whether the time of a frame is to be its number, whatever the file says. */
  readonly numbered?: boolean;
};

/**
 * The options that open `source` for decoding. Timestamps are those in the file unless frames are numbered. ffmpeg's automatic
 * rotation is off if it is known: later filters rotate only the wanted frames.
 */
export function decoderInput(source: DecodedStream, { seek, threads, numbered }: DecoderOptions = {}): Argument[] {
  return [
    ...(threads === undefined ? [] : ['-threads', String(threads)]),
    // With a rate, decoders count frames. Filters cannot: they begin anew where the size or turn of the pictures changes.
    ...(numbered ? ['-r', '1'] : []),
    ...(source.turnedBy === 'ffmpeg' ? [] : ['-noautorotate']),
    // Filters need not be set up anew where the size or format of the pictures changes, except those that turn pictures.
    ...(source.turnedBy === undefined ? ['-reinit_filter', '0'] : []),
    // Rounded up to microseconds, so that a seek to a keyframe's time does not land before the keyframe.
    ...(seek
      ? ['-noaccurate_seek', '-seek_timestamp', '1', '-ss', (Math.ceil(seek.seconds * 1e6) / 1e6).toFixed(6)]
      : []),
    source.file,
  ];
}

/** The place that keyframes pass. */
const KEYFRAME = 'key';

/** @throws LongVLMError if ffmpeg was killed or crashed */
export function checkNotKilled(exit: FfmpegExit, { name }: InputFile): void {
  if (exit.signal)
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `ffmpeg was ended by ${exit.signal} while reading '${name}'. Try again; if it happens again, the file is damaged or memory is short.`,
    );
}

/** What {@link decodeTimes} finds. Times are in ticks, NaN if unknown. */
export type DecodedTimes = {
  /** The times of all frames, in order. */
  readonly times: readonly number[];
  /** The times of the frames that are keyframes by the decoder's word. */
  readonly keys: ReadonlySet<number>;
  readonly complaint: string;
};

/**
 * Decodes a video from its beginning and returns the times of its frames. The pictures are cropped to a corner at once, so
 * this costs only the decoding.
 */
export async function decodeTimes(
  source: Source,
  stretch: { /** First time not wanted. */ end?: number; maxFrames?: number },
  signal?: AbortSignal,
): Promise<DecodedTimes> {
  const { num, den } = source.timeBase;
  const { end, maxFrames } = stretch;
  const times: number[] = [];
  const keys = new Set<number>();
  const frames = new ShownFrames(source.binary, (time, place) => {
    if (place === KEYFRAME) keys.add(time);
    else times.push(time);
  });
  const filters = [
    `settb=expr=${num}/${den}`,
    ...(end === undefined ? [] : [`trim=end_pts=${end}`]),
    ...(maxFrames === undefined ? [] : [`trim=end_frame=${maxFrames}`]),
    "crop=w='min(iw,16)':h='min(ih,16)':x=0:y=0:exact=1",
    ...frames.filters(),
    `select='${IS_KEYFRAME}'`,
    ...frames.filters(KEYFRAME),
  ];
  const ffmpeg = new FfmpegProcess(
    source.binary,
    [
      '-copyts',
      ...decoderInput({ ...source, turnedBy: undefined }),
      '-filter_complex',
      `[0:${source.stream}]${filters.join(',')}[out]`,
      ...['-map', '[out]', ...source.binary.passthrough],
      ...['-f', 'null', 'pipe:1'],
    ],
    signal,
    undefined,
    frames,
  );
  try {
    while (await ffmpeg.read());
    const exit = await ffmpeg.closed;
    signal?.throwIfAborted();
    checkNotKilled(exit, source.file);
    return { times: times.slice(0, maxFrames), keys, complaint: ffmpeg.complaint };
  } finally {
    await ffmpeg.dispose();
  }
}
