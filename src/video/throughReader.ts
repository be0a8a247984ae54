import { decodeTimes, type Source } from './decode.js';
import { frameChain } from './frameChain.js';
import { FrameReader } from './frameReader.js';
import { type FrameTable, lastAtMost } from './frameTable.js';
import type { FramePipeline } from './geometry.js';
import { planReads, type Run } from './plan.js';

/**
 * Reads frames by one decoding from the beginning, for all jobs together that did not get theirs by seeking. Where a decoder
 * leaves out a frame even so, the last one before stands for it.
 */
export class ThroughReader {
  /** Frames that nobody has yet got. */
  readonly #left: Set<number>;
  /** For each frame that stands for others, for how many of those left; undefined until decoding begins. */
  #stands: Map<number, number> | undefined;
  /** The frames that a decoder shows, ascending; undefined while each is taken to stand for itself. */
  #decodable: Int32Array | undefined;
  /** Frames that came before somebody asked for them. */
  readonly #kept = new Map<number, Uint8Array>();
  #runs: Run[] = [];
  #reader: FrameReader | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  /** @param wanted Frame indices. */
  constructor(
    readonly source: Source,
    readonly table: FrameTable,
    readonly pipeline: FramePipeline,
    wanted: Iterable<number>,
  ) {
    this.#left = new Set(wanted);
  }

  /** What ffmpeg complained about when it did not give a frame. */
  complaint = '';

  /** Tells that nobody needs frame `index` any more. */
  done(index: number): void {
    if (!this.#left.delete(index)) return;
    const stand = this.#standFor(index);
    const others = (this.#stands?.get(stand) ?? 1) - 1;
    this.#stands?.set(stand, others);
    if (others <= 0) this.#kept.delete(stand);
  }

  /**
   * Writes frame `index`, or the last one before it, to `target`.
   *
   * @param missing Whether decoding from the beginning is known not to give it.
   * @returns The index of the written frame; undefined if there is none.
   */
  give(index: number, target: Uint8Array, signal: AbortSignal, missing: boolean): Promise<number | undefined> {
    const turn = this.#turn.then(() => this.#give(index, target, signal, missing));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async dispose(): Promise<void> {
    this.#kept.clear();
    this.#runs = [];
    const reader = this.#reader;
    this.#reader = undefined;
    await reader?.dispose();
  }

  async #give(index: number, target: Uint8Array, signal: AbortSignal, missing: boolean): Promise<number | undefined> {
    signal.throwIfAborted();
    try {
      if ((!missing || this.#decodable) && (await this.#find(this.#standFor(index), target, signal)))
        return this.#standFor(index);
      if (this.#decodable || this.table.by === 'count') return undefined;
      await this.#list(signal);
      return (await this.#find(this.#standFor(index), target, signal)) ? this.#standFor(index) : undefined;
    } finally {
      this.done(index);
      if (this.#left.size === 0) await this.dispose();
      this.#reader?.keepAlive(false);
    }
  }

  #standFor(index: number): number {
    if (!this.#decodable) return index;
    return this.#decodable[lastAtMost(this.#decodable, index)] ?? -1;
  }

  /** Finds out what a decoder shows up to the last wanted frame, and begins again. */
  async #list(signal: AbortSignal): Promise<void> {
    const { source, table } = this;
    await this.dispose();
    let last = 0;
    for (const index of this.#left) last = Math.max(last, index);
    const { times, complaint } = await decodeTimes(source, { end: table.pts[last]! + 1 }, signal);
    this.complaint = complaint;
    const shown = new Set(times.map((time) => table.indexOf(time)).filter((frame) => frame >= 0));
    this.#decodable = Int32Array.from(shown).sort();
    this.#stands = undefined;
  }

  /** Reads on to frame `stand`; keeps what others left need. False if it does not come. */
  async #find(stand: number, target: Uint8Array, signal: AbortSignal): Promise<boolean> {
    const stands = this.#stands ?? this.#begin();
    const kept = this.#kept.get(stand);
    if (kept) {
      target.set(kept);
      return true;
    }
    for (let reader = this.#open(signal); reader; reader = await this.#next(signal)) {
      reader.keepAlive(true);
      for (let next = await reader.peek(); next !== undefined; next = await reader.peek()) {
        signal.throwIfAborted();
        if (next > stand) return false;
        const others = (stands.get(next) ?? 0) - (next === stand ? 1 : 0);
        const place = next === stand ? target : new Uint8Array(target.length);
        if (!(await reader.read(place))) break;
        if (others > 0) this.#kept.set(next, next === stand ? target.slice() : place);
        if (next === stand) return true;
      }
      signal.throwIfAborted();
      await reader.finish();
      this.complaint = reader.complaint;
    }
    return false;
  }

  #begin(): Map<number, number> {
    const stands = new Map<number, number>();
    for (const index of this.#left) {
      const stand = this.#standFor(index);
      if (stand >= 0) stands.set(stand, (stands.get(stand) ?? 0) + 1);
    }
    this.#stands = stands;
    const frames = [...stands.keys()].sort((a, b) => a - b);
    const options = { pixels: 0, framesPerJob: frames.length, strategy: 'through' } as const;
    this.#runs = planReads(this.table, frames, options).jobs.flat();
    return stands;
  }

  #open(signal: AbortSignal): FrameReader | undefined {
    if (this.#reader) return this.#reader;
    const run = this.#runs.shift();
    if (!run) return undefined;
    const { source, table, pipeline } = this;
    this.#reader = new FrameReader(source.binary, [frameChain(source, table, run, pipeline)], pipeline, signal);
    return this.#reader;
  }

  async #next(signal: AbortSignal): Promise<FrameReader | undefined> {
    await this.#reader?.dispose();
    this.#reader = undefined;
    return this.#open(signal);
  }
}
