// Parses ffmpeg's description of its input on standard error, whose format is the same since version 4.

/** One video stream of a file. */
export type StreamInfo = {
  /** Its number in the file, as in `0:2`. */
  readonly stream: number;
  readonly codec: string;
  /** Stored size in pixels: before rotation, ignoring the sample aspect ratio. */
  readonly width: number;
  readonly height: number;
  /** Nominal frames per second; 0 when unknown. */
  readonly frameRate: number;
  /** Clockwise rotation of the picture for display, in degrees. */
  readonly rotation: 0 | 90 | 180 | 270;
};

type Draft = { -readonly [K in keyof StreamInfo]: StreamInfo[K] };

/** Parses the description of the first input from the lines of standard error. */
export class InputDescription {
  /** Names of the format, such as `mov,mp4,m4a,3gp,3g2,mj2`; empty if there is no input. */
  container = '';
  /** The first timestamp, in seconds. */
  startSeconds = 0;
  /** The duration in the header; undefined if it has none. */
  durationSeconds: number | undefined;
  hasAudio = false;
  readonly streams: Draft[] = [];
  /** For each output stream, the number of the input stream that it copies. */
  readonly copied: number[] = [];
  #current: Draft | undefined;
  #ended = false;

  /** Parses the next line. */
  add(line: string): void {
    const text = line.replace(/^(\[[^\]]*\] )+/, '');
    const copy = /^ +Stream #0:(\d+) -> #0:\d+ \(copy\)/.exec(text);
    if (copy) this.copied.push(Number(copy[1]));
    if (this.#ended) return;
    if (/^(Output #0|Stream mapping)/.test(text)) {
      this.#ended = true;
      return;
    }
    const input = /^Input #0, (.+?), from '/.exec(text);
    if (input) this.container = input[1]!;
    const timing = /^ +Duration: (N\/A|(\d+):(\d+):([\d.]+))(?:, start: (-?[\d.]+))?/.exec(text);
    if (timing) {
      const [, , hours, minutes, seconds, start] = timing;
      if (seconds !== undefined) this.durationSeconds = Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds);
      if (start !== undefined) this.startSeconds = Number(start);
    }
    const stream = /^ +Stream #0:(\d+)[^ ]*: (\w+): (.*)/.exec(text);
    if (stream) this.#stream(Number(stream[1]), stream[2]!, stream[3]!);
    // ffmpeg 4 also prints `rotate` (clockwise), before the matrix (counter-clockwise), which has the same meaning.
    const turn = /^ +rotate +: (-?\d+)/.exec(text)?.[1];
    const matrix = /displaymatrix: rotation of (-?[\d.]+) degrees/.exec(text)?.[1];
    if (this.#current && turn !== undefined) this.#current.rotation = quarterTurns(Number(turn));
    if (this.#current && matrix !== undefined) this.#current.rotation = quarterTurns(-Number(matrix));
  }

  #stream(stream: number, kind: string, details: string): void {
    this.#current = undefined;
    if (kind === 'Audio') this.hasAudio = true;
    if (kind !== 'Video') return;
    const size = /, (\d+)x(\d+)(?=[ ,]|$)/.exec(details);
    const rate = /, ([\d.]+)(k?) fps/.exec(details);
    this.#current = {
      stream,
      codec: /^[\w-]+/.exec(details)?.[0] ?? 'unknown',
      width: Number(size?.[1] ?? 0),
      height: Number(size?.[2] ?? 0),
      frameRate: rate ? Number(rate[1]) * (rate[2] ? 1000 : 1) : 0,
      rotation: 0,
    };
    this.streams.push(this.#current);
  }
}

/** The stream with the largest picture, the first one on ties; undefined if none has a picture. */
export function largestPicture(streams: readonly StreamInfo[]): StreamInfo | undefined {
  let best: StreamInfo | undefined;
  for (const stream of streams) if (stream.width * stream.height > (best ? best.width * best.height : 0)) best = stream;
  return best;
}

function quarterTurns(degrees: number): StreamInfo['rotation'] {
  const turns = ((Math.round(degrees / 90) % 4) + 4) % 4;
  return (turns * 90) as StreamInfo['rotation'];
}
