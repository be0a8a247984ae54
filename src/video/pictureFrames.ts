import { LongVLMError } from '../base/errors.js';
import { checkNotKilled, type DecodedStream, decoderInput } from './decode.js';
import { type FfmpegBinary, findFfmpeg } from './ffmpeg.js';
import { FfmpegProcess } from './ffmpegProcess.js';
import type { FrameJob, FrameReading, FrameSource, OpenFramesOptions } from './frameSource.js';
import { type FramePipeline, framePipeline } from './geometry.js';
import { complaintAbout, type InputFile, inputArguments } from './inputFile.js';
import { rawPixels, readPixels } from './pixels.js';
import { checkFile, isUneven, notVideo, type VideoInfo } from './probe.js';
import { InputDescription, largestPicture, type StreamInfo } from './streamInfo.js';

/** So many pictures are described by one ffmpeg; their paths are on its command line. */
const DESCRIBED_AT_ONCE = 32;

/**
 * What a list of pictures is as a video. The first picture is looked at, the others when they are read.
 *
 * @param timestamps When each picture is shown, in seconds, rising.
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
    const { geometry, binary = this.binary, signal } = options;
    const files = wanted.map((index) => this.pictures[index]!);
    const described = await describePictures(binary, files, signal);
    const { width, height } = framePipeline(geometry, this.first);
    const jobs = described.map((stream, i) => {
      // At `source`, all come out as large as the first one.
      const pipeline = { ...framePipeline(geometry, stream), width, height };
      return new PictureJob({ binary, file: files[i]!, stream: stream.stream }, pipeline);
    });
    return {
      plan: { strategy: 'through', decodedFrames: jobs.length },
      width,
      height,
      jobs,
      jobOf: new Map(wanted.map((index, job) => [index, job])),
    };
  }
}

/** One picture, from one ffmpeg. */
class PictureJob implements FrameJob {
  #ffmpeg: FfmpegProcess | undefined;

  constructor(
    readonly source: DecodedStream,
    readonly pipeline: FramePipeline,
  ) {}

  async give(index: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    const { source, pipeline } = this;
    signal.throwIfAborted();
    const filters = ['trim=end_frame=1', ...pipeline.filters, 'setsar=1'];
    this.#ffmpeg = new FfmpegProcess(
      source.binary,
      [
        ...decoderInput(source, undefined, 1),
        ...['-filter_complex', `[0:${source.stream}]${filters.join(',')}[out]`, '-map', '[out]', '-frames:v', '1'],
        ...rawPixels,
      ],
      signal,
    );
    if (await readPixels(this.#ffmpeg, pipeline, target)) return index;
    signal.throwIfAborted();
    await this.finish();
    return this.fail();
  }

  fail(): never {
    const { file } = this.source;
    const complaint = complaintAbout(file, this.#ffmpeg?.complaint ?? '');
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `The picture '${file.name}' cannot be decoded${complaint ? `: ${complaint}` : ''}. It is damaged: copy or download it again.`,
    );
  }

  rest(): void {
    this.#ffmpeg?.keepAlive(false);
  }

  async finish(): Promise<void> {
    const ffmpeg = this.#ffmpeg;
    if (!ffmpeg) return;
    ffmpeg.keepAlive(true);
    while (await ffmpeg.read());
    checkNotKilled(await ffmpeg.closed, this.source.file);
  }

  async dispose(): Promise<void> {
    await this.#ffmpeg?.dispose();
  }
}

/** The picture in each file, without decoding the files: the largest where one holds several. */
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
  await Promise.all(files.map(checkFile));
  signal?.throwIfAborted();
  const descriptions: InputDescription[] = [];
  // Without an output, ffmpeg describes its inputs and ends.
  const ffmpeg = new FfmpegProcess(binary, files.flatMap(inputArguments), signal, (line) => {
    if (/^(\[[^\]]*\] )*Input #\d+, /.test(line)) descriptions.push(new InputDescription());
    descriptions.at(-1)?.add(line.replace(/(Input|Stream) #\d+/, '$1 #0'));
  });
  try {
    while (await ffmpeg.read());
    const exit = await ffmpeg.closed;
    signal?.throwIfAborted();
    // The first that cannot be opened ends it.
    const furthest = files[Math.min(descriptions.length, files.length - 1)]!;
    checkNotKilled(exit, furthest);
    return files.map((file, i) => {
      const description = descriptions[i] ?? new InputDescription();
      const picture = largestPicture(description.streams);
      if (!picture) throw notVideo(file, description, complaintAbout(file, descriptions[i] ? '' : ffmpeg.complaint));
      return picture;
    });
  } finally {
    await ffmpeg.dispose();
  }
}
