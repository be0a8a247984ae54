// Runs of a tower in the memory of its GPU: frames of several reads go up at once, and what comes of them stays there.
import { isOutOfMemory } from '../compute/gpuMemory.js';
import type { DeviceWork, Transfer } from '../compute/runtime.js';
import { DeviceBuffer } from '../kernels/deviceBuffer.js';
import { type DeviceOperation, poolingClsTokens } from '../kernels/deviceOperation.js';
import type { TokenEncoder } from './segment.js';

/** Which GPU, and how many steps of the tower are encoded in one run. */
export type DevicePlace = { readonly device: `cuda:${number}`; readonly stepsAtOnce: number };

/** What is encoded, in steps of the tower: frames, or groups of them. */
export type DeviceSteps = {
  /** Of the video. */
  readonly steps: number;
  /** Of what is added at once. */
  readonly stepsOfRead: number;
  /** Whether class tokens are needed. */
  readonly pools: boolean;
};

/** Steps [first, last) of the video, in one run. */
export type DeviceRun = {
  readonly first: number;
  readonly last: number;
  /** Whether the video ends with it. */
  readonly isLast: boolean;
  /** Rows [from, to) of a buffer, until the run has ended. */
  rows(buffer: DeviceBuffer, from: number, to: number): DeviceBuffer;
};

/** Where a run's outputs go, and what follows on the same stream. */
export type DeviceOutputs = {
  /** [steps, N, C]. */
  readonly patches: DeviceBuffer;
  /** [steps, N]. */
  readonly attention?: DeviceBuffer | undefined;
  readonly operations?: readonly DeviceOperation[];
  readonly downloads?: readonly Transfer[];
};

/**
 * What `make` makes with as many steps at once as the GPU has room for.
 * @param tooLarge what is done where not even one has
 */
export function withRoom<T>(stepsAtOnce: number, make: (stepsAtOnce: number) => T, tooLarge: (error: Error) => T): T {
  for (let atOnce = stepsAtOnce; ; atOnce = Math.floor(atOnce / 2))
    try {
      return make(atOnce);
    } catch (error) {
      if (!isOutOfMemory(error)) throw error;
      if (atOnce < 2) return tooLarge(error);
    }
}

/** A video on its way through the tower of a GPU. */
export class DeviceRuns {
  /** The most steps of a run, whole reads. */
  readonly most: number;
  /** Layers whose class tokens are pooled: all of them or none. */
  readonly layers: number;
  readonly #encoder: TokenEncoder;
  readonly #device: `cuda:${number}`;
  readonly #signal: AbortSignal | undefined;
  readonly #steps: number;
  readonly #stepBytes: number;
  readonly #kept: DeviceBuffer[] = [];
  readonly #pixels: DeviceBuffer;
  readonly #summaries: DeviceBuffer | undefined;
  #waiting: Uint8Array[] = [];
  #encoded = 0;

  /** @throws LongVLMError `ERR_LONGVLM_CUDA_OOM` */
  constructor(
    encoder: TokenEncoder,
    { steps, stepsOfRead, pools }: DeviceSteps,
    { device, stepsAtOnce }: DevicePlace,
    signal: AbortSignal | undefined,
  ) {
    const { config, framesPerStep, outputType } = encoder.tower;
    const { width, height } = encoder.shape;
    this.#encoder = encoder;
    this.#device = device;
    this.#signal = signal;
    this.#steps = steps;
    this.#stepBytes = framesPerStep * height * width * 3;
    this.layers = pools ? config.summaries : 0;
    this.most = Math.min(steps, Math.max(1, Math.floor(stepsAtOnce / stepsOfRead)) * stepsOfRead);
    const step = framesPerStep > 1 ? [framesPerStep, height, width, 3] : [height, width, 3];
    try {
      this.#pixels = this.allocate('uint8', [this.most, ...step]);
      this.#summaries = this.layers > 0 ? this.allocate(outputType, [steps, this.layers, config.channels]) : undefined;
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** Memory that {@link dispose} frees. */
  allocate(type: DeviceBuffer['type'], dims: readonly number[]): DeviceBuffer {
    const buffer = DeviceBuffer.allocate(type, dims, { device: this.#device });
    this.#kept.push(buffer);
    return buffer;
  }

  /**
   * Takes the next frames, and encodes those that wait once they fill a run, which is waited for once.
   * @param plan called for each run
   * @returns how many steps are encoded by now
   */
  async add(frames: Uint8Array, plan: (run: DeviceRun) => DeviceOutputs): Promise<number> {
    this.#waiting.push(frames);
    const waiting = this.#waiting.reduce((steps, { length }) => steps + length / this.#stepBytes, 0);
    if (waiting >= this.most || this.#encoded + waiting === this.#steps) {
      const reads = this.#waiting;
      this.#waiting = [];
      await this.#encode(reads, waiting, plan);
    }
    return this.#encoded;
  }

  /** The mean of each layer's class tokens over the video, to `out`, [layers, C]: for the last run; none without class tokens. */
  pooling(out: DeviceBuffer): readonly DeviceOperation[] {
    return this.#summaries ? [poolingClsTokens(this.#summaries, out)] : [];
  }

  dispose(): void {
    for (const buffer of this.#kept.splice(0)) buffer.dispose();
  }

  async #encode(reads: readonly Uint8Array[], steps: number, plan: (run: DeviceRun) => DeviceOutputs): Promise<void> {
    const first = this.#encoded;
    const last = first + steps;
    const views: DeviceBuffer[] = [];
    const rows = (buffer: DeviceBuffer, from: number, to: number) => {
      const view = buffer.rows(from, to);
      views.push(view);
      return view;
    };
    try {
      let at = 0;
      const uploads = reads.map((data) => {
        const from = at;
        at += data.length / this.#stepBytes;
        return { buffer: rows(this.#pixels, from, at), data };
      });
      const summaries = this.#summaries && rows(this.#summaries, first, last);
      const { patches, attention, ...behind } = plan({ first, last, isLast: last === this.#steps, rows });
      const work: DeviceWork = { uploads, ...behind };
      await this.#encoder.tower.encodeOnGpu(
        {
          ...{ pixels: rows(this.#pixels, 0, steps), patches },
          ...(summaries && { summaries }),
          ...(attention && { attention }),
        },
        work,
        this.#signal,
      );
      this.#encoded = last;
    } finally {
      for (const view of views) view.dispose();
    }
  }
}
