import { LongVLMError } from '../base/errors.js';
import { checkNotKilled, type DecodedStream, decoderInput } from './decode.js';
import { type FfmpegBinary, findFfmpeg } from './ffmpeg.js';
import { FfmpegProcess } from './ffmpegProcess.js';
import { type FrameChain, FrameReader } from './frameReader.js';
import type { FrameReading, FrameSource, OpenFramesOptions } from './frameSource.js';
import { type FramePipeline, framePipeline } from './geometry.js';
import type { InputFile } from './inputFile.js';
import { checkPixels, RESIZED } from './limits.js';
import { checkFile, isUneven, notVideo, type VideoInfo } from './probe.js';
import { ReaderJob } from './readerJob.js';
import { InputDescription, largestPicture, type StreamInfo } from './streamInfo.js';

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
  const binary = await findFfmpeg(ffmpeg);
  const [first] = await describePictures(binary, pictures.slice(0, 1), signal);
  const { width, height, rotation, codec } = first!;
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
    rotation,
    codec,
    container: 'pictures',
    warnings: [],
    frameSource: new PictureFrames(pictures, timestamps, first!, binary),
  };
}

/** Pictures of any sizes, in order, as the frames of a video. */
class PictureFrames implements FrameSource {
  constructor(
    readonly pictures: readonly InputFile[],
    readonly timestamps: readonly number[],
    readonly first: StreamInfo,
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
      const picture = { index: wanted[i]!, source: { binary, file: files[i]!, stream }, pipeline };
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
        input: decoderInput(source, undefined, 1),
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

/** The picture stream in each file, found without decoding; the largest one if a file holds several. */
async function describePictures(
  binary: FfmpegBinary,
  files: readonly InputFile[],
  signal: AbortSignal | undefined,
): Promise<StreamInfo[]> {
  const found: StreamInfo[] = [];
  for (let start = 0; start < files.length; start += DESCRIBED_AT_ONCE)
    found.push(...(await describeAtOnce(binary, files.slice(start, start + DESCRIBED_AT_ONCE), signal)));
  return found;
}

async function describeAtOnce(
  binary: FfmpegBinary,
  files: readonly InputFile[],
  signal: AbortSignal | undefined,
): Promise<StreamInfo[]> {
  for (const file of files) await checkFile(file, 'picture');
  signal?.throwIfAborted();
  const descriptions: InputDescription[] = [];
  // Without an output, ffmpeg describes its inputs and exits.
  const ffmpeg = new FfmpegProcess(binary, files, signal, (line) => {
    if (/^(\[[^\]]*\] )*Input #\d+, /.test(line)) descriptions.push(new InputDescription());
    descriptions.at(-1)?.add(line.replace(/(Input|Stream) #\d+/, '$1 #0'));
  });
  try {
    while (await ffmpeg.read());
    const exit = await ffmpeg.closed;
    signal?.throwIfAborted();
    // ffmpeg exits at the first file that it cannot open.
    const furthest = files[Math.min(descriptions.length, files.length - 1)]!;
    checkNotKilled(exit, furthest);
    return files.map((file, i) => {
      const description = descriptions[i] ?? new InputDescription();
      const picture = largestPicture(description.streams);
      if (!picture) throw notVideo(file, description, descriptions[i] ? '' : ffmpeg.complaint, 'picture');
      checkPixels(file, picture);
      return picture;
    });
  } finally {
    await ffmpeg.dispose();
  }
}
