import { DISCARD, KEY, type Packets } from './packets.js';

/** Where a reader may start decoding to arrive at a frame. */
export type SeekPoint = {
  /** Time to give to ffmpeg's `-ss`, in absolute seconds. */
  readonly seconds: number;
  /** Position of the keyframe in decoding order. */
  readonly position: number;
};

/**
 * ffmpeg moves a seek back by this much where frames are reordered, because most indices hold decoding times
 * (3/23 s, in its `-ss`); the same much later is still the right keyframe, unless the next one is nearer.
 */
const SEEK_SHIFT_SECONDS = 3 / 23;
/** Formats whose index leads to a keyframe at or before a decoding time. */
const INDEXED = /\b(mov|mp4|matroska|webm|avi|flv|asf|nut|mxf)\b/;
/** Formats searched by timestamp, which lands on any packet: aim at the keyframe itself. */
const SEARCHED = /\b(mpegts|mpeg)\b/;

/** Every frame of a video in display order: its time, and how to get at it. */
export class FrameTable {
  /** How a frame is recognised when it comes out of the decoder: by its timestamp, or by counting. */
  readonly by: 'time' | 'count';
  /** Presentation times in ticks, rising. */
  readonly pts: Float64Array;
  readonly timeBase: { readonly num: number; readonly den: number };
  readonly #packets: Packets | undefined;
  readonly #packetOf: Int32Array | undefined;
  readonly #keys: Int32Array;
  readonly #aimAtKey: boolean;

  private constructor(
    by: 'time' | 'count',
    pts: Float64Array,
    packets: Packets,
    packetOf: Int32Array | undefined,
    container: string,
  ) {
    this.by = by;
    this.pts = pts;
    this.timeBase = packets.timeBase;
    this.#aimAtKey = SEARCHED.test(container);
    const seekable =
      packetOf !== undefined && (this.#aimAtKey || INDEXED.test(container)) && isRising(packets.dts, true);
    this.#packets = seekable ? packets : undefined;
    this.#packetOf = seekable ? packetOf : undefined;
    this.#keys = seekable ? placesOf(packets.flags, KEY, KEY) : new Int32Array(0);
  }

  /** The frames that `packets` announce; undefined where their times cannot be relied on. */
  static fromPackets(packets: Packets, container: string): FrameTable | undefined {
    if (packets.pts.some(Number.isNaN) || !isRising(packets.dts, true)) return undefined;
    const order = placesOf(packets.flags, DISCARD, 0);
    sortByTime(order, packets.pts);
    const pts = new Float64Array(order.length);
    for (let i = 0; i < pts.length; i++) pts[i] = packets.pts[order[i]!]!;
    return isRising(pts) ? new FrameTable('time', pts, packets, order, container) : undefined;
  }

  /** The frames that came out when the file was decoded from end to end, at `times` (NaN where unknown). */
  static fromDecoded(packets: Packets, times: readonly number[], frameRate: number, container: string): FrameTable {
    const pts = Float64Array.from(times);
    if (isRising(pts)) {
      const packetAt = new Map<number, number>();
      for (const [i, time] of packets.pts.entries()) packetAt.set(time, i);
      const packetOf = Int32Array.from(pts, (time) => packetAt.get(time) ?? -1);
      return new FrameTable('time', pts, packets, packetOf.includes(-1) ? undefined : packetOf, container);
    }
    const { num, den } = packets.timeBase;
    const step = den / num / (frameRate || 25);
    const first = pts.find((time) => !Number.isNaN(time)) ?? 0;
    return new FrameTable(
      'count',
      pts.map((_, i) => first + i * step),
      packets,
      undefined,
      container,
    );
  }

  get length(): number {
    return this.pts.length;
  }

  /** The table without its first `count` frames, which no decoder can show. */
  withoutFirst(count: number, packets: Packets, container: string): FrameTable {
    return new FrameTable('time', this.pts.slice(count), packets, this.#packetOf?.slice(count), container);
  }

  /** Seconds from `startSeconds` to frame `index`. */
  seconds(index: number, startSeconds: number): number {
    return (this.pts[index]! * this.timeBase.num) / this.timeBase.den - startSeconds;
  }

  /** The frame shown at `pts`, or -1. */
  indexOf(pts: number): number {
    const at = this.atOrBefore(pts);
    return at >= 0 && this.pts[at] === pts ? at : -1;
  }

  /** The last frame that is shown at or before `pts`; -1 when there is none. */
  atOrBefore(pts: number): number {
    return lastAtMost(this.pts, pts);
  }

  /** Where frame `index` lies in decoding order. Without seeking, that is where it comes out of the decoder. */
  position(index: number): number {
    return this.#packetOf?.[index] ?? index;
  }

  /**
   * The nearest point from which decoding gives frame `index`, `back` keyframes earlier; undefined for the beginning
   * of the file, also where the file cannot be sought in.
   */
  seekPoint(index: number, back = 0): SeekPoint | undefined {
    const packets = this.#packets;
    if (!packets) return undefined;
    const target = this.position(index);
    let at = lastAtMost(this.#keys, target);
    // A frame that is decoded after a keyframe but shown before it may need frames from before that keyframe.
    while (at >= 0 && packets.pts[this.#keys[at]!]! > this.pts[index]!) at--;
    at -= back;
    if (at <= 0) return undefined;
    const position = this.#keys[at]!;
    const tick = this.timeBase.num / this.timeBase.den;
    const keySeconds = packets.dts[position]! * tick;
    if (this.#aimAtKey || back > 0) return { seconds: keySeconds, position };
    const next = this.#keys[at + 1] ?? packets.dts.length - 1;
    const latest = (packets.dts[next]! - 1) * tick;
    const wanted = packets.dts[target]! * tick + SEEK_SHIFT_SECONDS;
    return { seconds: Math.max(keySeconds, Math.min(wanted, latest)), position };
  }
}

/** The places at which the bits `mask` of `flags` are `wanted`. */
function placesOf(flags: Uint8Array, mask: number, wanted: number): Int32Array {
  const places = new Int32Array(flags.length);
  let count = 0;
  for (let i = 0; i < flags.length; i++) if ((flags[i]! & mask) === wanted) places[count++] = i;
  return places.slice(0, count);
}

/** Sorts packets by their times. Decoding order is nearly that, so each moves a few places; built-in sorting copies all. */
function sortByTime(order: Int32Array, pts: Float64Array): void {
  let moves = order.length * 64;
  for (let i = 1; i < order.length && moves > 0; i++) {
    const packet = order[i]!;
    let at = i;
    for (; at > 0 && pts[order[at - 1]!]! > pts[packet]!; at--, moves--) order[at] = order[at - 1]!;
    order[at] = packet;
  }
  if (moves <= 0) order.sort((a, b) => pts[a]! - pts[b]!);
}

function isRising(values: Float64Array, orEqual = false): boolean {
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) return false;
    if (i > 0 && (orEqual ? values[i]! < values[i - 1]! : values[i]! <= values[i - 1]!)) return false;
  }
  return true;
}

/** The last place of the rising `values` that holds at most `limit`; -1 when there is none. */
function lastAtMost(values: Float64Array | Int32Array, limit: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle]! <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
