import { continuousTimes } from './frameTimes.js';
import { DISCARD, KEY, type Packets } from './packets.js';
import type { SeekProof } from './seekProof.js';

/** A position from which decoding reaches a frame. */
export type SeekPoint = {
  /** Time for ffmpeg's `-ss`, in absolute seconds. */
  readonly seconds: number;
  /** Position of the keyframe in decoding order. */
  readonly position: number;
};

/**
 * ffmpeg's `-ss` moves a seek back by 3/23 s if frames are reordered, because most indices hold decoding times. Adding the same
 * amount to the seek time compensates for this, unless the next keyframe is nearer.
 */
const SEEK_SHIFT_SECONDS = 3 / 23;
/** Formats with an index, which finds the keyframe at or before a decoding time. */
const INDEXED = /\b(mov|mp4|matroska|webm|avi|flv|asf|nut|mxf)\b/;
/** Formats that are searched by timestamp. The search may end at any packet, so the seek time is the keyframe's own. */
const SEARCHED = /\b(mpegts|mpeg)\b/;

/** What decides whether a file can be seeked in. */
export type Seeking = {
  /** Names of the format. */
  readonly container: string;
  readonly proof: SeekProof;
};

/** The frames that were decoded from the beginning: their times in ticks, NaN if unknown, and which of them are keyframes. */
export type DecodedFrames = { readonly times: readonly number[]; readonly keys: ReadonlySet<number> };

/** All frames of a video in display order: their times, and how to seek to them. */
export class FrameTable {
  /** How a decoded frame is identified: by its timestamp, or by counting. */
  readonly by: 'time' | 'count';
  /** Presentation times in ticks, ascending. */
  readonly pts: Float64Array;
  readonly timeBase: { readonly num: number; readonly den: number };
  /** How a seek is proven. */
  readonly proof: SeekProof;
  readonly #packets: Packets | undefined;
  readonly #packetOf: Int32Array | undefined;
  readonly #keys: Int32Array;
  readonly #aimAtKey: boolean;

  private constructor(
    by: 'time' | 'count',
    pts: Float64Array,
    packets: Packets,
    packetOf: Int32Array | undefined,
    { container, proof }: Seeking,
  ) {
    this.by = by;
    this.pts = pts;
    this.timeBase = packets.timeBase;
    this.proof = proof;
    this.#aimAtKey = isSearched(container);
    const seekable =
      proof !== 'none' &&
      packetOf !== undefined &&
      (this.#aimAtKey || INDEXED.test(container)) &&
      isRising(packets.dts, true);
    this.#packets = seekable ? packets : undefined;
    this.#packetOf = seekable ? packetOf : undefined;
    this.#keys = seekable ? placesOf(packets.flags, KEY, KEY) : new Int32Array(0);
  }

  /** The frames of `packets`; undefined if their times are unreliable. */
  static fromPackets(packets: Packets, seeking: Seeking): FrameTable | undefined {
    if (packets.pts.some(Number.isNaN) || !isRising(packets.dts, true)) return undefined;
    const order = shownOrder(packets);
    const pts = new Float64Array(order.length);
    for (let i = 0; i < pts.length; i++) pts[i] = packets.pts[order[i]!]!;
    return isRising(pts) ? new FrameTable('time', pts, packets, order, seeking) : undefined;
  }

  /**
   * The frames of a file that was decoded completely.
   *
   * @param step The nominal interval between frames, in ticks.
   */
  static fromDecoded(
    packets: Packets,
    decoded: DecodedFrames,
    step: number,
    seeking: Seeking,
  ): { table: FrameTable; startsOver: number; unknown: number } {
    const pts = new Float64Array(decoded.times);
    if (isRising(pts)) {
      const table = new FrameTable('time', pts, packets, packetsAt(pts, packets), honest(packets, decoded, seeking));
      return { table, startsOver: 0, unknown: 0 };
    }
    const { pts: continuous, ...changes } = continuousTimes(decoded.times, step);
    return { table: new FrameTable('count', continuous, packets, undefined, seeking), ...changes };
  }

  /** Whether a seek begins at a keyframe, so that a decoder has nothing to complain about. */
  get landsOnKeyframes(): boolean {
    return !this.#aimAtKey;
  }

  get length(): number {
    return this.pts.length;
  }

  /**
   * The table of a file of which the first frames were decoded.
   *
   * @param first Index of the first of them: no decoder can show those before.
   */
  checked(first: number, packets: Packets, decoded: DecodedFrames, seeking: Seeking): FrameTable {
    const packetOf = this.#packetOf?.subarray(first);
    return new FrameTable('time', this.pts.subarray(first), packets, packetOf, honest(packets, decoded, seeking));
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

  /** Position of frame `index` in decoding order. If the file is not seekable, this is the frame's own index. */
  position(index: number): number {
    return this.#packetOf?.[index] ?? index;
  }

  /**
   * The nearest point from which decoding reaches frame `index`. Undefined means the beginning of the file, also for files that
   * are not seekable.
   */
  seekPoint(index: number): SeekPoint | undefined {
    const packets = this.#packets;
    if (!packets) return undefined;
    const target = this.position(index);
    let at = lastAtMost(this.#keys, target);
    // A frame that is decoded after a keyframe but shown before it may need frames from before that keyframe.
    while (at >= 0 && packets.pts[this.#keys[at]!]! > this.pts[index]!) at--;
    if (at <= 0) return undefined;
    const position = this.#keys[at]!;
    const tick = this.timeBase.num / this.timeBase.den;
    const keySeconds = packets.dts[position]! * tick;
    if (this.#aimAtKey) return { seconds: keySeconds, position };
    const next = this.#keys[at + 1] ?? packets.dts.length - 1;
    const latest = (packets.dts[next]! - 1) * tick;
    const wanted = packets.dts[target]! * tick + SEEK_SHIFT_SECONDS;
    return { seconds: Math.max(keySeconds, Math.min(wanted, latest)), position };
  }
}

/** Whether a seek in such a container looks for a time among the packets, without an index. */
export function isSearched(container: string): boolean {
  return SEARCHED.test(container);
}

/** Packets that the container marks as keyframes though the decoder says otherwise make all its marks useless. */
function honest(packets: Packets, { times, keys }: DecodedFrames, seeking: Seeking): Seeking {
  if (seeking.proof !== 'decoder') return seeking;
  const others = new Set<number>();
  for (let i = 0; i < packets.flags.length; i++)
    if (packets.flags[i]! & KEY && !keys.has(packets.pts[i]!)) others.add(packets.pts[i]!);
  const lies = others.size > 0 && times.some((time) => others.has(time));
  return lies ? { ...seeking, proof: 'none' } : seeking;
}

/** The places of the packets that are shown, in the order of their times. */
function shownOrder({ flags, pts }: Packets): Int32Array {
  const order = placesOf(flags, DISCARD, 0);
  sortByTime(order, pts);
  return order;
}

/** The packet of each of the ascending `times`, the last of several; undefined if one has none. */
function packetsAt(times: Float64Array, { flags, pts }: Packets): Int32Array | undefined {
  const order = placesOf(flags, 0, 0).filter((packet) => !Number.isNaN(pts[packet]!));
  sortByTime(order, pts);
  const found = new Int32Array(times.length);
  let at = 0;
  for (let i = 0; i < times.length; i++) {
    const time = times[i]!;
    while (at < order.length && pts[order[at]!]! <= time) at++;
    const packet = order[at - 1];
    if (packet === undefined || pts[packet] !== time) return undefined;
    found[i] = packet;
  }
  return found;
}

/** The indices at which the bits `mask` of `flags` equal `wanted`. */
function placesOf(flags: Uint8Array, mask: number, wanted: number): Int32Array {
  const places = new Int32Array(flags.length);
  let count = 0;
  for (let i = 0; i < flags.length; i++) if ((flags[i]! & mask) === wanted) places[count++] = i;
  return places.slice(0, count);
}

/** Sorts packets by their times, in place. Decoding order is nearly sorted, so insertion sort is fast. */
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

/** The last index of the ascending `values` whose value is at most `limit`; -1 if there is none. */
export function lastAtMost(values: Float64Array | Int32Array, limit: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle]! <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
