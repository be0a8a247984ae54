import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { messageOf } from '../base/errors.js';
import type { FfmpegBinary } from './ffmpeg.js';
import type { ShownFrames } from './shownFrames.js';

const MAX_LINE = 16_384;
const MAX_TROUBLES = 12;

/** How a process exited. `signal` is set when the process was killed. */
export type FfmpegExit = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

const alive = new Set<ChildProcess>();
let watchesExit = false;

function killAll(): void {
  for (const child of alive) child.kill('SIGKILL');
}

/**
 * A running ffmpeg process. Standard output is read on demand, so ffmpeg blocks when it is not read. The process is killed
 * when the signal aborts, by {@link FfmpegProcess.dispose}, and when Node exits.
 */
export class FfmpegProcess {
  /** Resolves when the process has exited and its output has been read. Never rejects. */
  readonly closed: Promise<FfmpegExit>;
  readonly #child: ChildProcess | undefined;
  readonly #chunks: AsyncIterator<Buffer> | undefined;
  readonly #troubles: string[] = [];
  #rest: Buffer = Buffer.alloc(0);
  #keepsAlive = true;

  /**
   * @param onLine Called with each line of standard error, which describes the streams. Without it, ffmpeg writes only errors.
   * @param frames Told of the frames by a third pipe.
   */
  constructor(
    binary: FfmpegBinary,
    args: readonly string[],
    signal?: AbortSignal,
    onLine?: (line: string) => void,
    frames?: ShownFrames,
  ) {
    const options = ['-nostdin', '-hide_banner', '-nostats', '-loglevel', `repeat+level+${onLine ? 'info' : 'error'}`];
    let child: ChildProcess;
    try {
      child = spawn(binary.path, [...options, ...args], {
        stdio: ['ignore', 'pipe', 'pipe', ...(frames ? ['pipe' as const] : [])],
        windowsHide: true,
      });
    } catch (error) {
      this.#troubles.push(messageOf(error));
      this.closed = Promise.resolve({ code: null, signal: null });
      return;
    }
    this.#child = child;
    this.#chunks = child.stdout![Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    if (!watchesExit) {
      process.on('exit', killAll);
      watchesExit = true;
    }
    alive.add(child);
    readLines(child.stderr!, (line) => {
      if (/\[(error|fatal|panic)\]/.test(line)) {
        if (this.#troubles.length < MAX_TROUBLES) this.#troubles.push(line);
      }
      onLine?.(line);
    });
    if (frames) readLines(child.stdio[3] as Readable, (line) => frames.add(line));
    const kill = () => this.kill();
    signal?.addEventListener('abort', kill);
    this.closed = new Promise((fulfil) => {
      child.once('error', (error) => {
        this.#troubles.push(messageOf(error));
        if (child.pid === undefined) fulfil({ code: null, signal: null });
      });
      child.once('close', (code, name) => fulfil({ code, signal: name }));
    });
    void this.closed.then(() => {
      alive.delete(child);
      signal?.removeEventListener('abort', kill);
    });
    if (signal?.aborted) kill();
  }

  /** ffmpeg's first error message, as one line; empty if there is none. Later messages are usually consequences. */
  get complaint(): string {
    const cleaned = this.#troubles.map((line) => line.replace(/\[[^\]]*\] ?/g, '').trim()).filter(Boolean);
    return [...new Set(cleaned)].slice(0, 3).join('; ').slice(0, 400);
  }

  /** Reads the next chunk of standard output; undefined at its end. */
  async read(): Promise<Buffer | undefined> {
    if (this.#rest.length > 0) {
      const rest = this.#rest;
      this.#rest = Buffer.alloc(0);
      return rest;
    }
    try {
      return (await this.#chunks?.next())?.value;
    } catch {
      return undefined; // Destroyed by kill().
    }
  }

  /** Waits until standard output has more data; false at its end. */
  async hasMore(): Promise<boolean> {
    const chunk = await this.read();
    if (chunk) this.#rest = chunk;
    return chunk !== undefined;
  }

  /** Reads the next `length` bytes into `target` at `offset`, or discards them without a target. False if the output ends earlier. */
  async take(length: number, target?: Uint8Array, offset = 0): Promise<boolean> {
    for (let taken = 0; taken < length; ) {
      const chunk = await this.read();
      if (!chunk) return false;
      const use = Math.min(chunk.length, length - taken);
      target?.set(use === chunk.length ? chunk : chunk.subarray(0, use), offset + taken);
      if (use < chunk.length) this.#rest = chunk.subarray(use);
      taken += use;
    }
    return true;
  }

  /** Sets whether the process keeps Node from exiting. It should not while nobody waits for its output. */
  keepAlive(keep: boolean): void {
    const child = this.#child;
    if (!child || keep === this.#keepsAlive || !alive.has(child)) return;
    this.#keepsAlive = keep;
    for (const handle of [child, child.stdout, child.stderr, child.stdio[3]] as (
      | { ref?(): void; unref?(): void }
      | null
      | undefined
    )[])
      if (keep) handle?.ref?.();
      else handle?.unref?.();
  }

  kill(): void {
    this.#child?.kill('SIGKILL');
    // Unread output would prevent the event 'close'.
    this.#child?.stdout?.destroy();
  }

  /** Kills the process if it still runs, and waits for its exit. */
  async dispose(): Promise<void> {
    this.keepAlive(true);
    this.kill();
    await this.closed;
  }
}

function readLines(stream: NodeJS.ReadableStream, onLine: (line: string) => void): void {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  stream.on('data', (chunk: Buffer) => {
    const lines = (rest + decoder.write(chunk)).split(/\r?\n/);
    rest = lines.pop()!.slice(0, MAX_LINE);
    for (const line of lines) onLine(line);
  });
  stream.on('end', () => {
    if (rest) onLine(rest);
  });
  stream.on('error', () => {});
}
