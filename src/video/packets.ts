// Packets as they lie in the file, from ffmpeg's framecrc format: no picture is decoded.

const KEY = 1;
const CORRUPT = 2;
const DISCARD = 4;
/** What ffmpeg prints for a timestamp that it does not know (AV_NOPTS_VALUE). */
const NO_TIME = -(2 ** 63);

/** A list of numbers that grows. */
class Column {
  #data = new Float64Array(1024);
  length = 0;

  push(value: number): void {
    if (this.length === this.#data.length) {
      const larger = new Float64Array(this.length * 2);
      larger.set(this.#data);
      this.#data = larger;
    }
    this.#data[this.length++] = value;
  }

  /** The numbers, without spare room. */
  finish(): Float64Array {
    return this.#data.slice(0, this.length);
  }
}

/** All packets of one stream, in the order of decoding. Times are in ticks of {@link Packets.timeBase} seconds. */
export type Packets = {
  /** A tick is `num / den` seconds. */
  readonly timeBase: { readonly num: number; readonly den: number };
  readonly pts: Float64Array;
  readonly dts: Float64Array;
  /** 1 where decoding can begin. */
  readonly key: Uint8Array;
  /** 1 where the picture is decoded but not shown, by an edit list. */
  readonly hidden: Uint8Array;
  /** The duration of the last packet shown. */
  readonly lastDuration: number;
  /** How many packets the container calls damaged. */
  readonly corrupt: number;
};

/** Collects the packets of one stream. */
class StreamPackets {
  timeBase = { num: 1, den: 1 };
  readonly #pts = new Column();
  readonly #dts = new Column();
  readonly #flags = new Column();
  #lastPts = Number.NEGATIVE_INFINITY;
  #lastDuration = 0;
  #corrupt = 0;

  add(dts: number, pts: number, duration: number, flags: number): void {
    this.#pts.push(pts === NO_TIME ? Number.NaN : pts);
    this.#dts.push(dts === NO_TIME ? Number.NaN : dts);
    this.#flags.push(flags);
    if (flags & CORRUPT) this.#corrupt++;
    if (pts >= this.#lastPts) {
      this.#lastPts = pts;
      this.#lastDuration = duration;
    }
  }

  finish(): Packets {
    const flags = this.#flags.finish();
    return {
      timeBase: this.timeBase,
      pts: this.#pts.finish(),
      dts: this.#dts.finish(),
      key: Uint8Array.from(flags, (bits) => (bits & KEY ? 1 : 0)),
      hidden: Uint8Array.from(flags, (bits) => (bits & DISCARD ? 1 : 0)),
      lastDuration: this.#lastDuration,
      corrupt: this.#corrupt,
    };
  }
}

/** The options that make ffmpeg write what {@link PacketParser} reads, of every video stream that is not cover art. */
export const packetArguments = [
  '-copyts',
  '-map',
  '0:V',
  '-c',
  'copy',
  '-copyinkf',
  '-copypriorss',
  '1',
  '-f',
  'framecrc',
  'pipe:1',
];

/** Reads framecrc text piece by piece. Streams are numbered in the order of the file. */
export class PacketParser {
  readonly #streams: StreamPackets[] = [];
  #rest = '';

  add(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop()!;
    for (const line of lines) this.#line(line);
  }

  finish(): Packets[] {
    return this.#streams.map((stream) => stream.finish());
  }

  #stream(number: number): StreamPackets {
    this.#streams[number] ??= new StreamPackets();
    return this.#streams[number];
  }

  #line(line: string): void {
    const base = /^#tb (\d+): (\d+)\/(\d+)/.exec(line);
    if (base) this.#stream(Number(base[1])).timeBase = { num: Number(base[2]), den: Number(base[3]) };
    if (line === '' || line.startsWith('#')) return;
    const [stream, dts, pts, duration, , , sixth] = line.split(',');
    if (duration === undefined) return;
    // The flags are written only where they are not those of a plain key frame.
    const flags = sixth?.startsWith(' F=0x') ? Number.parseInt(sixth.slice(5), 16) : KEY;
    this.#stream(Number(stream)).add(Number(dts), Number(pts), Number(duration), flags);
  }
}
