import type { FrameReader } from './frameReader.js';
import type { FrameJob } from './frameSource.js';

/** Frames from one ffmpeg, which starts when the first is asked for. */
export abstract class ReaderJob implements FrameJob {
  #reader: FrameReader | undefined;

  /** What ffmpeg complained about when it did not give a frame. */
  protected complaint = '';

  /** What ffmpeg complained about so far. */
  protected get complaints(): string {
    return this.#reader?.complaint ?? '';
  }

  /** Starts the ffmpeg that gives the frames of this job. */
  protected abstract open(signal: AbortSignal): FrameReader;

  /** Writes to `target` what stands for frame `index`, which did not come; its index is the result. */
  protected abstract replace(index: number, target: Uint8Array, signal: AbortSignal): Promise<number | undefined>;

  abstract fail(): never;

  async give(index: number, target: Uint8Array, signal: AbortSignal): Promise<number | undefined> {
    signal.throwIfAborted();
    this.#reader ??= this.open(signal);
    const reader = this.#reader;
    reader.keepAlive(true);
    for (;;) {
      const next = await reader.peek();
      signal.throwIfAborted();
      if (next !== undefined && next > index) {
        this.complaint = reader.complaint;
        return this.replace(index, target, signal);
      }
      if (next === undefined || !(await reader.read(target))) {
        signal.throwIfAborted();
        await reader.finish();
        this.complaint = reader.complaint;
        return this.replace(index, target, signal);
      }
      if (next === index) return index;
    }
  }

  /** Ends the ffmpeg of this job, which can start again. */
  protected async close(): Promise<void> {
    const reader = this.#reader;
    this.#reader = undefined;
    await reader?.dispose();
  }

  rest(): void {
    this.#reader?.keepAlive(false);
  }

  async finish(): Promise<void> {
    this.#reader?.keepAlive(true);
    await this.#reader?.finish();
  }

  async dispose(): Promise<void> {
    await this.close();
  }
}
