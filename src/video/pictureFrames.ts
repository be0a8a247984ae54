import { LongVLMError } from '../base/errors.js';
import { checkNotKilled, type DecodedStream, decoderInput } from './decode.js';
import { readOrientation } from './exif.js';
import { type FfmpegBinary, findFfmpeg } from './ffmpeg.js';
import { FfmpegProcess } from './ffmpegProcess.js';
import { type FrameChain, FrameReader } from './frameReader.js';
import type { FrameReading, FrameSource, OpenFramesOptions } from './frameSource.js';
import { type FramePipeline, framePipeline } from './geometry.js';
import type { InputFile } from './inputFile.js';
import { checkPixels, RESIZED } from './limits.js';
import { checkPictures, notVideo } from './notVideo.js';
import { checkFile, isUneven, type VideoInfo } from './probe.js';
import { ReaderJob } from './readerJob.js';
import { inSandbox } from './sandbox.js';
import { InputDescription, largestPicture, type StreamInfo } from './streamInfo.js';
import { type FoundTurn, findTurn, turnedBy, turnOfOrientation } from './turn.js';

/** How many pictures one ffmpeg describes; limited because their paths are on its command line. */
const DESCRIBED_AT_ONCE = 32;
/** So many are decoded by one ffmpeg, which spares starting others. */
const READ_AT_ONCE = 8;

/**
 * Describes a list of pictures as a video. Only the first picture is probed; the others when they are read.
 *
 * @param timestamps Presentation times of the pictures in seconds, ascending.
 */
export async function probePictures(
  pictures: readonly InputFile[],
  timestamps: readonly number[],
  { ffmpeg, signal }: { ffmpeg?: string | undefined; signal?: AbortSignal | undefined },
): Promise<VideoInfo> {
  signal?.throwIfAborted();
  const [{ lists, limits }] = pictures as [InputFile];
  const binary = await inSandbox(await findFfmpeg(ffmpeg), lists ? 'none' : limits.sandbox);
  const [first] = await describePictures(binary, pictures.slice(0, 1), signal);
  const { width, height, codec, turn } = first!;
  const span = timestamps.at(-1)! - timestamps[0]!;
  const step = pictures.length > 1 ? span / (pictures.length - 1) : 0;
  return {
    path: 'pictures',
    kind: 'pictures',
    durationSeconds: span + step,
    frameCount: pictures.length,
    frameRate: step > 0 ? 1 / step : 0,
    variableFrameRate: isUneven(timestamps, 1e-6),
    width,
    height,
    rotation: turn.rotation,
    mirrored: turn.mirrored,
    codec,
    container: 'pictures',
    warnings: turn.warning === undefined ? [] : [turn.warning],
    frameSource: new PictureFrames(pictures, timestamps, first!, binary),
  };
}

/** Pictures of any sizes, in order, as the frames of a video. */
class PictureFrames implements FrameSource {
  constructor(
    readonly pictures: readonly InputFile[],
    readonly timestamps: readonly number[],
    readonly first: Picture,
    readonly binary: FfmpegBinary,
  ) {}

  get length(): number {
    return this.pictures.length;
  }

  seconds(index: number): number {
    return this.timestamps[index]!;
  }

  async open(wanted: readonly number[], options: OpenFramesOptions): Promise<FrameReading> {
    const { geometry, framesPerJob, binary = this.binary, signal } = options;
    const files = wanted.map((index) => this.pictures[index]!);
    const described = await describePictures(binary, files, signal);
    const { width, height } = framePipeline(geometry, this.first);
    const groups: WantedPicture[][] = [];
    for (const [i, { stream, ...stored }] of described.entries()) {
      // At `source`, all come out as large as the first one.
      const pipeline = { ...framePipeline(geometry, stored), width, height };
      checkPixels(files[i]!, pipeline.largest, RESIZED);
      const source = { binary, file: files[i]!, stream, turnedBy: turnedBy(stored.turn) };
      const picture = { index: wanted[i]!, source, pipeline };
      const group = groups.at(-1);
      const { piped } = group?.[0]?.pipeline ?? {};
      const fits = piped?.width === pipeline.piped.width && piped.height === pipeline.piped.height;
      if (group && fits && group.length < Math.min(framesPerJob, READ_AT_ONCE)) group.push(picture);
      else groups.push([picture]);
    }
    return {
      plan: { strategy: 'through', decodedFrames: wanted.length },
      width,
      height,
      jobs: groups.map((group) => new PictureJob(group)),
      jobOf: new Map(groups.flatMap((group, job) => group.map(({ index }) => [index, job] as const))),
    };
  }
}

type WantedPicture = { readonly index: number; readonly source: DecodedStream; readonly pipeline: FramePipeline };

/** Some pictures that ffmpeg writes in one size. */
class PictureJob extends ReaderJob {
  #missing: WantedPicture | undefined;

  constructor(readonly pictures: readonly WantedPicture[]) {
    super();
  }

  protected override open(signal: AbortSignal): FrameReader {
    const { source, pipeline } = this.pictures[0]!;
    const chains = this.pictures.map(
      ({ index, source, pipeline }): FrameChain => ({
        file: source.file,
        input: decoderInput(source, { threads: 1 }),
        stream: source.stream,
        filters: ['trim=end_frame=1', ...pipeline.filters],
        indexOf: () => index,
      }),
    );
    return new FrameReader(source.binary, chains, pipeline, signal);
  }

  protected override async replace(index: number): Promise<undefined> {
    this.#missing = this.pictures.find((picture) => picture.index === index);
    this.fail();
  }

  fail(): never {
    const { file } = (this.#missing ?? this.pictures[0]!).source;
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `'${file.name}', one of the pictures, cannot be decoded${this.complaint ? `: ${this.complaint}` : ''}. It is damaged: copy or download it again.`,
    );
  }
}

/** A picture stream, and how its picture is turned. */
type Picture = StreamInfo & { readonly turn: FoundTurn };

/** The picture stream in each file, found without decoding; the largest one if a file holds several. */
async function describePictures(
  binary: FfmpegBinary,
  files: readonly InputFile[],
  signal: AbortSignal | undefined,
): Promise<Picture[]> {
  const found: Picture[] = [];
  for (let start = 0; start < files.length; start += DESCRIBED_AT_ONCE) {
    const some = files.slice(start, start + DESCRIBED_AT_ONCE);
    for (const file of some) await checkFile(file, 'picture');
    for (const [i, stream] of (await describeAtOnce(binary, some, signal)).entries())
      found.push({ ...stream, turn: await turnOf({ binary, file: some[i]!, stream: stream.stream }, stream, signal) });
  }
  return found;
}

/** Trying how ffmpeg turns a picture would decode it once more, so that is done only where the container says it. */
async function turnOf(
  source: DecodedStream,
  { angle }: StreamInfo,
  signal: AbortSignal | undefined,
): Promise<FoundTurn> {
  const orientation = await readOrientation(source.file.path);
  if (angle !== undefined) return findTurn(source, { angle, orientation }, signal);
  return { ...turnOfOrientation(orientation), byFfmpeg: false };
}

async function describeAtOnce(
  binary: FfmpegBinary,
  files: readonly InputFile[],
  signal: AbortSignal | undefined,
): Promise<StreamInfo[]> {
  signal?.throwIfAborted();
  const description = new InputDescription();
  const outputs = files.flatMap((_, i) => [
    ...['-map', `${i}:V`, '-c', 'copy', '-copyinkf', '-frames:v', '1'],
    ...[...description.outputArguments(i), '-f', 'framecrc', 'pipe:1'],
  ]);
  const ffmpeg = new FfmpegProcess(binary, [...files, ...outputs], signal, (line) => description.add(line));
  try {
    while (await ffmpeg.read());
    const exit = await ffmpeg.closed;
    signal?.throwIfAborted();
    checkNotKilled(exit, files[0]!);
    const pictures = files.map((_, i) => largestPicture(description.streams(i)));
    const missing = pictures.includes(undefined);
    // A file that cannot be described ends ffmpeg. Each on its own shows which one it is.
    if (missing && files.length > 1) return await oneByOne(binary, files, signal);
    if (missing) throw notVideo(files[0]!, description, ffmpeg.complaint, 'picture');
    for (const [i, picture] of pictures.entries()) {
      checkPictures(files[i]!, picture!);
      checkPixels(files[i]!, picture!);
    }
    return pictures as StreamInfo[];
  } finally {
    await ffmpeg.dispose();
  }
}

async function oneByOne(binary: FfmpegBinary, files: readonly InputFile[], signal: AbortSignal | undefined) {
  const found: StreamInfo[] = [];
  for (const file of files) found.push(...(await describeAtOnce(binary, [file], signal)));
  return found;
}
