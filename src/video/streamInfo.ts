// Parses ffmpeg's description of files on standard error, whose format is the same since version 4.
import { randomMark } from './shownFrames.js';

/** One video stream of a file. */
export type StreamInfo = {
  /** How ffmpeg calls it, as in `V:1`: the second moving picture. */
  readonly stream: string;
  readonly codec: string;
  /** Stored size in pixels: before rotation, ignoring the sample aspect ratio. */
  readonly width: number;
  readonly height: number;
  /** Nominal frames per second; 0 when unknown. */
  readonly frameRate: number;
  /** Whether the file says that this stream is shown if none is chosen. */
  readonly isDefault: boolean;
  /** The angle of the container's display matrix in degrees, counter-clockwise; undefined without one. */
  readonly angle: number | undefined;
};

type Draft = { -readonly [K in keyof StreamInfo]: StreamInfo[K] };

/**
 * Parses what ffmpeg writes to standard error about its inputs, and about outputs into which it copies their streams.
 *
 * The lines about an input hold text of the file: names and values of tags, languages, chapters. A file can write lines there
 * that look like any other. So what must be true is taken from the lines about the outputs, from which this text is kept away, and
 * which begin with a mark that no file can know. What only the lines about the input tell is believed if one line alone tells it.
 */
export class InputDescription {
  /** Names of the first input's format, such as `mov,mp4,m4a,3gp,3g2,mj2`; empty if there is no input. */
  container = '';
  /** How many inputs could be opened; the true number or more. */
  inputs = 0;
  /** What kinds of streams the inputs seem to hold, such as `Audio`. Only for messages. */
  readonly seen = new Set<string>();
  /** Whether there seems to be a video stream that is not a cover. Only for messages. */
  hasMoving = false;
  /** Whether a Matroska file names keys of encrypted streams, or its text says so. */
  encrypted = false;
  readonly #mark = randomMark();
  readonly #outputs: Draft[][] = [];
  readonly #timings: { duration: number | undefined; start: number | undefined }[] = [];
  #inInput = false;
  #inOutputs = false;
  #current: Draft | undefined;

  /** The options that keep the file's text out of the output `number`, and mark it. */
  outputArguments(number = 0): string[] {
    return ['-map_metadata', '-1', '-map_chapters', '-1', '-metadata', `title=${this.#mark}.${number}`];
  }

  /** The video streams of an output, each with pictures. */
  streams(output = 0): readonly StreamInfo[] {
    return this.#outputs[output] ?? [];
  }

  /** The first timestamp in seconds; undefined if it is unknown, or if the file's own text may have said it. */
  get startSeconds(): number | undefined {
    return this.#timings.length === 1 ? (this.#timings[0]!.start ?? 0) : undefined;
  }

  /** The duration in the header; undefined if it has none or its text may have said it. */
  get durationSeconds(): number | undefined {
    return this.#timings.length === 1 ? this.#timings[0]!.duration : undefined;
  }

  /** Parses the next line. Returns whether it is ffmpeg's own: the description of an input may hold anything. */
  add(line: string): boolean {
    const text = line.replace(/^(\[[^\]]*\] )+/, '');
    const mark = /^ +title +: (\w+)\.(\d+)$/.exec(text);
    if (mark?.[1] === this.#mark) {
      this.#inOutputs = true;
      this.#outputs[Number(mark[2])] = [];
    }
    if (this.#inOutputs) this.#output(text);
    else this.#input(text);
    return this.#inOutputs || !this.#inInput;
  }

  #input(text: string): void {
    const input = /^Input #\d+, (.+?), from '/.exec(text);
    if (input) {
      this.#inInput = true;
      this.inputs++;
      this.container ||= input[1]!;
    }
    const timing = /^ +Duration: (N\/A|(\d+):(\d+):([\d.]+))(?:, start: (-?[\d.]+))?/.exec(text);
    if (timing) {
      const [, , hours, minutes, seconds, start] = timing;
      this.#timings.push({
        duration: seconds === undefined ? undefined : Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds),
        start: start === undefined ? undefined : Number(start),
      });
    }
    const kind = /^ +Stream #\d+:\d+.*?: (Video|Audio|Subtitle|Data|Attachment): /.exec(text)?.[1];
    if (kind) this.seen.add(kind);
    if (/^ +enc_key_id +: /.test(text)) this.encrypted = true;
    if (kind === 'Video' && !/ \((attached pic|timed thumbnails)\)/.test(text)) this.hasMoving = true;
  }

  #output(text: string): void {
    const stream = /^ +Stream #(\d+):(\d+)[^ ]*: Video: (.*)/.exec(text);
    if (stream) {
      const streams = this.#outputs[Number(stream[1])];
      this.#current = describe(`V:${stream[2]}`, stream[3]!);
      if (streams) streams[Number(stream[2])] = this.#current;
    } else if (/^\S/.test(text)) this.#current = undefined;
    const angle = /displaymatrix: rotation of (-?[\d.]+|nan) degrees/.exec(text)?.[1];
    if (this.#current && angle !== undefined) this.#current.angle = Number(angle);
  }
}

function describe(stream: string, details: string): Draft {
  const size = /, (\d+)x(\d+)(?=[ ,]|$)/.exec(details);
  const rate = /, ([\d.]+)(k?) fps/.exec(details);
  return {
    stream,
    codec: /^[\w-]+/.exec(details)?.[0] ?? 'unknown',
    width: Number(size?.[1] ?? 0),
    height: Number(size?.[2] ?? 0),
    frameRate: rate ? Number(rate[1]) * (rate[2] ? 1000 : 1) : 0,
    isDefault: / \(default\)/.test(details),
    angle: undefined,
  };
}

/**
 * Among streams with packets, the one that is meant to be seen: a moving one rather than a single picture, one that is shown by
 * default rather than another, then the largest, then the first. Undefined if none has a picture.
 */
export function mainStream<
  T extends { readonly stream: StreamInfo; readonly packets: { readonly pts: ArrayLike<number> } },
>(found: readonly T[]): T | undefined {
  const rank = ({ stream, packets }: T) => [Number(packets.pts.length > 1), Number(stream.isDefault), pixelsOf(stream)];
  const compare = (a: T, b: T) => {
    const [ranksA, ranksB] = [rank(a), rank(b)];
    const at = ranksA.findIndex((value, i) => value !== ranksB[i]);
    return at < 0 ? 0 : ranksB[at]! - ranksA[at]!;
  };
  return found.filter(({ stream }) => pixelsOf(stream) > 0).sort(compare)[0];
}

/** The stream with the largest picture, the first one on ties; undefined if none has a picture. */
export function largestPicture(streams: readonly StreamInfo[]): StreamInfo | undefined {
  return streams.filter((stream) => pixelsOf(stream) > 0).sort((a, b) => pixelsOf(b) - pixelsOf(a))[0];
}

function pixelsOf({ width, height }: StreamInfo): number {
  return width * height;
}
