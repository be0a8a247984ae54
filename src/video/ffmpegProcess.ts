import { type ChildProcess, spawn } from 'node:child_process';
import { StringDecoder } from 'node:string_decoder';
import { messageOf } from '../base/errors.js';
import type { FfmpegBinary } from './ffmpeg.js';

const MAX_LINE = 16_384;
const MAX_TROUBLES = 12;

/** How a process ended. `signal` is set when something killed it. */
export type FfmpegExit = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

const alive = new Set<ChildProcess>();
let watchesExit = false;

function killAll(): void {
  for (const child of alive) child.kill('SIGKILL');
}

/**
 * One running ffmpeg. Standard output is read only as far as it is asked for, so ffmpeg waits when nobody reads.
 * It dies at once when the signal aborts, on {@link FfmpegProcess.dispose} and when Node exits.
 */
export class FfmpegProcess {
  /** When the process has ended and all it wrote has been read. Never rejects. */
  readonly closed: Promise<FfmpegExit>;
  readonly #child: ChildProcess | undefined;
  readonly #chunks: AsyncIterator<Buffer> | undefined;
  readonly #troubles: string[] = [];
  #rest: Buffer = Buffer.alloc(0);
  #keepsAlive = true;

  /** @param onLine Receives each line of standard error, for what ffmpeg tells about streams and frames. */
  constructor(binary: FfmpegBinary, args: readonly string[], signal?: AbortSignal, onLine?: (line: string) => void) {
    const options = ['-nostdin', '-hide_banner', '-nostats', '-loglevel', 'repeat+level+info'];
    let child: ChildProcess;
    try {
      child = spawn(binary.path, [...options, ...args], { stdio: ['ignore', 'pipe', 'pipe'], windowsHide: true });
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

  /** What ffmpeg complained about first, which is the cause of the rest, on one line; empty when it did not. */
  get complaint(): string {
    const cleaned = this.#troubles.map((line) => line.replace(/\[[^\]]*\] ?/g, '').trim()).filter(Boolean);
    return [...new Set(cleaned)].slice(0, 3).join('; ').slice(0, 400);
  }

  /** The next piece of standard output, or undefined at its end. */
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

  /** Waits for the next byte of standard output; false at its end. */
  async hasMore(): Promise<boolean> {
    const chunk = await this.read();
    if (chunk) this.#rest = chunk;
    return chunk !== undefined;
  }

  /** Moves the next `length` bytes to `target` at `offset`, or nowhere. False when the output ends before. */
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

  /** Whether the process keeps Node from exiting: it need not while nobody waits for what it writes. */
  keepAlive(keep: boolean): void {
    const child = this.#child;
    if (!child || keep === this.#keepsAlive || !alive.has(child)) return;
    this.#keepsAlive = keep;
    for (const handle of [child, child.stdout, child.stderr] as { ref?(): void; unref?(): void }[])
      if (keep) handle.ref?.();
      else handle.unref?.();
  }

  kill(): void {
    this.#child?.kill('SIGKILL');
    // Unread output would keep 'close' from coming.
    this.#child?.stdout?.destroy();
  }

  /** Kills the process, if it still runs, and waits until it is gone. */
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
