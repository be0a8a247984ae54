// Reads the packets of a file from ffmpeg's framecrc format, without decoding pictures.
import { LongVLMError } from '../base/errors.js';
import { LIST_FORMATS } from './inputFile.js';

/** FFmpeg's flags of packets. */
export const KEY = 1;
const CORRUPT = 2;
export const DISCARD = 4;
/** ffmpeg prints -2^63 (AV_NOPTS_VALUE) for an unknown timestamp; real timestamps are far above this limit. */
const NO_TIME = -9e18;
const [NEWLINE, SPACE, HASH, COMMA, MINUS, ZERO, LETTER_F] = [10, 32, 35, 44, 45, 48, 70];

/**
 * Refuses files whose headers announce more frames than the file can hold: a few bytes can announce millions.
 *
 * @param count Number of packets so far.
 * @param bytes Size of the file.
 * @param container Names of the format.
 * @throws LongVLMError
 */
export function checkPacketCount(count: number, bytes: number, container: string, name: string): void {
  // The size of a list of other files says nothing.
  const isList = container.split(',').some((format) => LIST_FORMATS.includes(format));
  if (count > bytes && !isList)
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `'${name}' announces more frames than its ${bytes} bytes can hold: it is damaged or made to harm. Copy or download it again.`,
    );
}

/** A list of numbers that grows. */
class Column<T extends Float64Array | Uint8Array> {
  #data: T;
  readonly #make: (length: number) => T;
  #length = 0;

  constructor(make: (length: number) => T) {
    this.#make = make;
    this.#data = make(1024);
  }

  push(value: number): void {
    if (this.#length === this.#data.length) {
      const larger = this.#make(this.#length * 2);
      larger.set(this.#data);
      this.#data = larger;
    }
    this.#data[this.#length++] = value;
  }

  /** The numbers, without a copy. */
  finish(): T {
    return this.#data.subarray(0, this.#length) as T;
  }
}

/** All packets of one stream, in decoding order. Times are in ticks of {@link Packets.timeBase} seconds. */
export type Packets = {
  /** A tick is `num / den` seconds. */
  readonly timeBase: { readonly num: number; readonly den: number };
  readonly pts: Float64Array;
  readonly dts: Float64Array;
  /** {@link KEY} if decoding can begin there, {@link DISCARD} if an edit list hides the decoded picture. */
  readonly flags: Uint8Array;
  /** The duration of the last packet shown. */
  readonly lastDuration: number;
  /** How many packets the container marks as damaged. */
  readonly corrupt: number;
  /** Size of the smallest packet, in bytes. */
  readonly smallest: number;
};

/** Collects the packets of one stream. */
class StreamPackets {
  timeBase = { num: 1, den: 1 };
  readonly #pts = new Column((length) => new Float64Array(length));
  readonly #dts = new Column((length) => new Float64Array(length));
  readonly #flags = new Column((length) => new Uint8Array(length));
  #lastPts = Number.NEGATIVE_INFINITY;
  #lastDuration = 0;
  #corrupt = 0;
  #smallest = Number.POSITIVE_INFINITY;

  add(dts: number, pts: number, duration: number, size: number, flags: number): void {
    this.#pts.push(pts < NO_TIME ? Number.NaN : pts);
    this.#dts.push(dts < NO_TIME ? Number.NaN : dts);
    this.#flags.push(flags);
    if (flags & CORRUPT) this.#corrupt++;
    this.#smallest = Math.min(this.#smallest, size);
    if (pts >= this.#lastPts) {
      this.#lastPts = pts;
      this.#lastDuration = duration;
    }
  }

  finish(): Packets {
    return {
      timeBase: this.timeBase,
      pts: this.#pts.finish(),
      dts: this.#dts.finish(),
      flags: this.#flags.finish(),
      lastDuration: this.#lastDuration,
      corrupt: this.#corrupt,
      smallest: this.#smallest,
    };
  }
}

/** The options that make ffmpeg write input for {@link PacketParser}, for every video stream that is not cover art. */
export const packetArguments = [
  '-copyts',
  '-map',
  '0:V',
  '-c',
  'copy',
  '-copyinkf',
  '-copypriorss',
  '1',
  '-flush_packets',
  '0',
  '-f',
  'framecrc',
  'pipe:1',
];

/**
 * Parses framecrc text in chunks. Streams are numbered in the order of the file.
 *
 * Works on bytes, to save memory: an hour of video has 90,000 lines.
 */
export class PacketParser {
  readonly #streams: StreamPackets[] = [];
  #rest: Uint8Array = new Uint8Array(0);
  readonly #fields = new Float64Array(5);
  #count = 0;

  /** Number of packets so far, of all streams. */
  get count(): number {
    return this.#count;
  }

  add(piece: Buffer): void {
    const text = this.#rest.length > 0 ? Buffer.concat([this.#rest, piece]) : piece;
    let start = 0;
    for (let end = text.indexOf(NEWLINE); end >= 0; end = text.indexOf(NEWLINE, start)) {
      if (text[start] === HASH) this.#header(text.toString('latin1', start, end));
      else this.#packet(text, start, end);
      start = end + 1;
    }
    this.#rest = text.subarray(start);
  }

  finish(): Packets[] {
    return this.#streams.map((stream) => stream.finish());
  }

  #stream(number: number): StreamPackets {
    this.#streams[number] ??= new StreamPackets();
    return this.#streams[number];
  }

  #header(line: string): void {
    const base = /^#tb (\d+): (\d+)\/(\d+)/.exec(line);
    if (base) this.#stream(Number(base[1])).timeBase = { num: Number(base[2]), den: Number(base[3]) };
  }

  /** `stream, dts, pts, duration, size, checksum[, F=0xflags][, side data]` */
  #packet(text: Buffer, start: number, end: number): void {
    const fields = this.#fields;
    let at = start;
    for (let i = 0; i < fields.length; i++) {
      while (text[at] === SPACE) at++;
      const negative = text[at] === MINUS;
      if (negative) at++;
      let value = 0;
      for (; at < end && text[at] !== COMMA; at++) value = value * 10 + (text[at]! - ZERO);
      fields[i] = negative ? -value : value;
      at++;
    }
    if (at >= end) return;
    // The flags are omitted for a plain keyframe.
    const mark = text.indexOf(COMMA, at) + 2;
    const flagged = mark >= 2 && mark < end && text[mark] === LETTER_F;
    const flags = flagged ? Number.parseInt(text.toString('latin1', mark + 4, Math.min(end, mark + 12)), 16) : KEY;
    this.#count++;
    this.#stream(fields[0]!).add(fields[1]!, fields[2]!, fields[3]!, fields[4]!, flags);
  }
}
