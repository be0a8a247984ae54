// Reads memory once with several threads, at the speed of the C library: Buffer.compare() of bytes with themselves is a
// memcmp() whose second operand comes from the first-level cache.
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const chunkBytes = 2 ** 20;
/** Minimum size of one read, because waking the threads takes longer than reading a few megabytes. */
const leastBytes = 64 * 2 ** 20;

/** Indices in the control block. */
const generation = 0;
const firstBuffer = 1;
const nextChunk = 2;
const busy = 3;

type Shared = { readonly buffers: readonly SharedArrayBuffer[]; readonly control: Int32Array };

/** Two views of the same bytes, because comparing an object with itself reads nothing. */
type Twins = readonly [Buffer, Buffer];

const twinsOf = ({ buffers }: Shared): Twins[] =>
  buffers.map((buffer) => [Buffer.from(buffer), Buffer.from(buffer)] as const);

/** How many buffers make up `leastBytes`. */
const buffersAtOnce = (buffers: readonly { readonly byteLength: number }[]): number =>
  Math.ceil(leastBytes / buffers[0]!.byteLength);

function readChunks(twins: readonly Twins[], control: Int32Array): void {
  const { length } = twins[0]![0];
  const chunksInBuffer = Math.ceil(length / chunkBytes);
  const chunks = chunksInBuffer * buffersAtOnce(twins.map(([one]) => one));
  const first = Atomics.load(control, firstBuffer);
  for (;;) {
    const chunk = Atomics.add(control, nextChunk, 1);
    if (chunk >= chunks) return;
    const [one, other] = twins[(first + Math.floor(chunk / chunksInBuffer)) % twins.length]!;
    const start = (chunk % chunksInBuffer) * chunkBytes;
    const end = Math.min(start + chunkBytes, length);
    if (one.compare(other, start, end, start, end) !== 0) throw new Error('memory changed while it was read');
  }
}

/** Over buffers of equal length. */
export class MemoryReader {
  /** How many of the buffers {@link read} reads. */
  readonly buffersAtOnce: number;
  readonly #control: Int32Array;
  readonly #twins: readonly Twins[];
  readonly #workers: number;
  #next = 0;

  private constructor(shared: Shared, workers: number) {
    this.#control = shared.control;
    this.#twins = twinsOf(shared);
    this.buffersAtOnce = buffersAtOnce(shared.buffers);
    this.#workers = workers;
  }

  static async create(buffers: readonly SharedArrayBuffer[], threads: number): Promise<MemoryReader> {
    const shared: Shared = { buffers, control: new Int32Array(new SharedArrayBuffer(16)) };
    const workers = Array.from(
      { length: threads - 1 },
      () => new Worker(new URL(import.meta.url), { workerData: shared }),
    );
    await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))));
    // The threads wait endlessly for the next read, so they must not keep the process alive.
    for (const worker of workers) worker.unref();
    return new MemoryReader(shared, workers.length);
  }

  /** Reads the next of the buffers, on all threads. */
  read(): void {
    const control = this.#control;
    Atomics.store(control, firstBuffer, this.#next);
    this.#next = (this.#next + this.buffersAtOnce) % this.#twins.length;
    Atomics.store(control, nextChunk, 0);
    Atomics.store(control, busy, this.#workers);
    Atomics.add(control, generation, 1);
    Atomics.notify(control, generation);
    readChunks(this.#twins, control);
    for (let left = Atomics.load(control, busy); left > 0; left = Atomics.load(control, busy))
      Atomics.wait(control, busy, left);
  }
}

function serve(shared: Shared): never {
  const { control } = shared;
  const twins = twinsOf(shared);
  let seen = 0;
  parentPort!.postMessage('ready');
  for (;;) {
    Atomics.wait(control, generation, seen);
    seen = Atomics.load(control, generation);
    readChunks(twins, control);
    if (Atomics.sub(control, busy, 1) === 1) Atomics.notify(control, busy);
  }
}

if (!isMainThread) serve(workerData as Shared);
