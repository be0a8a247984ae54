import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { listen } from '../base/abort.js';
import { endAfterDeath, readyForDeath } from '../base/caretaker.js';
import { checkDescriptors } from '../base/descriptors.js';
import { LongVLMError } from '../base/errors.js';
import { printable } from '../base/printable.js';
import { longestTimer } from '../base/wait.js';
import type { FfmpegBinary } from './ffmpeg.js';
import { type Argument, type InputFile, type OpenedInput, openInput } from './inputFile.js';
import { decodeSeconds, limitError } from './limits.js';
import { exitOf, launchOf } from './sandbox.js';
import type { ShownFrames } from './shownFrames.js';
import { spawnError } from './spawnError.js';

const MAX_LINE = 16_384;
const MAX_TROUBLES = 12;
/** Standard input, output and error, and the pipe of the frames, come before the files. */
const FIRST_DESCRIPTOR = 4;
/** Bytes of memory that ffmpeg takes at once for each pixel of the largest picture allowed: four channels of 16 bits. */
const BYTES_PER_PIXEL = 9;
const LEAST_ALLOCATION = 2 ** 28;

/** Time of the processor that ffmpeg gets beside that for which it may keep its reader waiting. */
const SPARE_SECONDS = 60;

/** How a process exited. `signal` is set when the process was killed. */
export type FfmpegExit = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

/** What ffmpeg says of a format that it may not read, with its name. */
const REFUSED = /^\[([\w,]+) @ [^\]]*\] (?:\[\w+\] )*(Format not on whitelist).*/;

const alive = new Set<FfmpegProcess>();
let watchesExit = false;

function killAll(): void {
  for (const ffmpeg of alive) ffmpeg.kill();
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
  readonly #files: readonly InputFile[];
  /** What ffmpeg calls the files. */
  #locators: readonly string[] = [];
  /** For how long ffmpeg may keep its reader waiting from now on. */
  #waitMs = 0;
  #failure: LongVLMError | undefined;
  /** Whether another program starts ffmpeg. */
  readonly #isLaunched: boolean;
  /** Whether the child leads a group of processes that ends with it. */
  #hasGroup = false;
  #rest: Buffer = Buffer.alloc(0);
  #keepsAlive = true;

  /**
   * @param args Each file among them stands for the options that open it.
   * @param onLine Called with each line of standard error, which describes the streams, and returns whether it is ffmpeg's own:
   * others are text of the file, and no complaint. Without it, ffmpeg writes only errors.
   * @param frames Told of the frames.
   */
  constructor(
    binary: FfmpegBinary,
    args: readonly Argument[],
    signal?: AbortSignal,
    onLine?: (line: string) => boolean,
    frames?: ShownFrames,
  ) {
    const files = args.filter((arg): arg is InputFile => typeof arg !== 'string');
    this.#files = files;
    this.#isLaunched = binary.sandbox !== undefined;
    let child: ChildProcess;
    try {
      child = this.#start(binary, args, onLine || frames?.inLog ? 'info' : 'error', frames);
    } catch (error) {
      this.#failure = error instanceof LongVLMError ? error : spawnError(binary.path, error);
      this.closed = Promise.resolve({ code: null, signal: null });
      return;
    }
    this.#child = child;
    this.closed = new Promise((fulfil) => {
      child.once('error', (error) => {
        if (child.pid !== undefined) return;
        this.#failure = spawnError(binary.path, error);
        fulfil({ code: null, signal: null });
      });
      child.once('close', (code, name) => {
        if (binary.sandbox && (code === 126 || code === 127)) this.#failure = notStarted(binary.path, code);
        fulfil(exitOf(binary, { code, signal: name }));
      });
    });
    // Without descriptors for its pipes, the child has none, and emits an error later.
    if (!child.stdout || !child.stderr) return;
    this.#chunks = child.stdout[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    if (!watchesExit) {
      process.on('exit', killAll);
      watchesExit = true;
    }
    alive.add(this);
    if (child.pid !== undefined)
      if (this.#hasGroup)
        // A group's number is given again once all of it have ended, who held the output.
        child.once('close', endAfterDeath(-child.pid));
      else child.once('exit', endAfterDeath(child.pid));
    readLines(child.stderr, (line) => {
      if (frames?.inLog) frames.add(line);
      if ((onLine?.(line) ?? true) && /^(\[[^\]]*\] )?\[(error|fatal|panic)\]/.test(line))
        if (this.#troubles.length < MAX_TROUBLES) this.#troubles.push(line);
    });
    if (frames && !frames.inLog) readLines(child.stdio[3] as Readable, (line) => frames.add(line));
    const unlink = listen(signal, () => this.kill());
    void this.closed.then(() => {
      alive.delete(this);
      unlink();
    });
    if (signal?.aborted) this.kill();
  }

  /** @throws LongVLMError when a file cannot be opened; errors of spawn() */
  #start(
    binary: FfmpegBinary,
    args: readonly Argument[],
    level: 'info' | 'error',
    frames: ShownFrames | undefined,
  ): ChildProcess {
    const opened: OpenedInput[] = [];
    const descriptors: number[] = [];
    try {
      const expanded = args.flatMap((arg) => {
        if (typeof arg === 'string') return arg;
        const input = openInput(arg, FIRST_DESCRIPTOR + descriptors.length);
        if (input.descriptor !== undefined) descriptors.push(input.descriptor);
        opened.push(input);
        this.#waitMs += decodeSeconds(arg.limits, input.bytes) * 1000;
        return input.options;
      });
      this.#locators = opened.map(({ locator }) => locator);
      const pixels = Math.max(0, ...this.#files.map(({ limits }) => limits.maxPixels));
      const allocation = Math.min(Math.max(pixels * BYTES_PER_PIXEL, LEAST_ALLOCATION), 2 ** 31 - 1);
      const launch = launchOf(
        binary,
        [
          ...['-nostdin', '-hide_banner', '-nostats', '-loglevel', `repeat+level+${level}`],
          ...['-max_alloc', `${allocation}`, ...expanded],
        ],
        {
          memoryBytes: Math.max(...this.#files.map(({ limits }) => limits.maxMemory)),
          cpuSeconds: this.#waitMs / 1000 + SPARE_SECONDS,
        },
      );
      this.#hasGroup = launch.hasGroup;
      readyForDeath();
      checkDescriptors();
      return spawn(launch.program, launch.args, {
        stdio: ['ignore', 'pipe', 'pipe', frames && !frames.inLog ? 'pipe' : 'ignore', ...descriptors],
        windowsHide: true,
        detached: launch.hasGroup,
        ...(launch.env && { env: launch.env }),
      });
    } finally {
      for (const descriptor of descriptors) closeSync(descriptor);
    }
  }

  /** ffmpeg's first error message, as one line; empty if there is none. Later messages are usually consequences. */
  get complaint(): string {
    const cleaned = this.#troubles
      .map((line) =>
        line
          .replace(REFUSED, '$2: $1')
          .replace(/\[[^\]]*\] ?/g, '')
          .trim(),
      )
      .map((line) =>
        this.#locators.reduceRight((text, locator, i) => text.replaceAll(locator, this.#files[i]!.name), line),
      )
      .filter(Boolean);
    return printable([...new Set(cleaned)].slice(0, 3).join('; ').slice(0, 400));
  }

  /**
   * Reads the next chunk of standard output; undefined at its end.
   *
   * @throws LongVLMError when ffmpeg could not be started, or takes longer than the limit `decodeSeconds`
   */
  async read(): Promise<Buffer | undefined> {
    if (this.#rest.length > 0) {
      const rest = this.#rest;
      this.#rest = Buffer.alloc(0);
      return rest;
    }
    const chunk = await this.#next();
    // Whether it was started at all may only be known then.
    if (chunk === undefined && (this.#child?.pid === undefined || this.#isLaunched)) await this.closed;
    if (chunk === undefined && this.#failure) throw this.#failure;
    return chunk;
  }

  async #next(): Promise<Buffer | undefined> {
    const started = performance.now();
    const timer = setTimeout(() => this.#giveUp(), Math.min(this.#waitMs, longestTimer));
    // ffmpeg alone keeps Node alive.
    timer.unref();
    try {
      return (await this.#chunks?.next())?.value;
    } catch {
      return undefined; // Destroyed by kill().
    } finally {
      clearTimeout(timer);
      this.#waitMs -= performance.now() - started;
    }
  }

  #giveUp(): void {
    const [{ name } = { name: 'video' }] = this.#files;
    this.#failure = limitError(name, 'takes ffmpeg too long to read', 'decodeSeconds');
    this.kill();
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
    if (!child || keep === this.#keepsAlive || !alive.has(this)) return;
    this.#keepsAlive = keep;
    for (const handle of [child, child.stdout, child.stderr, child.stdio[3]] as (
      | { readonly destroyed?: boolean; ref?(): void; unref?(): void }
      | null
      | undefined
    )[]) {
      // One that has ended would wait for a connection, with one listener more each time.
      if (handle?.destroyed) continue;
      if (keep) handle?.ref?.();
      else handle?.unref?.();
    }
  }

  kill(): void {
    const child = this.#child;
    if (this.#hasGroup && child?.pid !== undefined && alive.has(this)) killGroup(child.pid);
    else child?.kill('SIGKILL');
    // Unread output would prevent the event 'close'.
    child?.stdout?.destroy();
  }

  /** Kills the process if it still runs, and waits for its exit. */
  async dispose(): Promise<void> {
    this.keepAlive(true);
    this.kill();
    await this.closed;
  }
}

function killGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // All have ended.
  }
}

/** The error for an ffmpeg that the shell which sets its limits did not start. */
function notStarted(path: string, code: 126 | 127): LongVLMError {
  return spawnError(path, Object.assign(new Error(path), { code: code === 127 ? 'ENOENT' : 'EACCES' }));
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
