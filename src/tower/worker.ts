// The worker thread of a VisionEncoder: the tower, and the merging of a segment's patches where they arise.

import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import type { OnnxModel } from '../compute/graphBuilder.js';
import { Session, type SessionOptions } from '../compute/ortSession.js';
import { type Answer, letAbortsArrive, serveWorker } from '../compute/workerServer.js';
import { mergeTokensSync } from '../kernels/index.js';
import { type Reduction, reduceTokens } from '../reduce/reduceTokens.js';
import type { VisionConfig } from './clip/huggingFaceConfig.js';
import { normalizationTables, normalizeFrames } from './preprocess.js';

export type VisionWorkerData = {
  readonly model: OnnxModel;
  readonly session: SessionOptions;
  readonly config: VisionConfig;
  readonly globalLayers: number;
  /** Frames that go through the tower at once. */
  readonly batchFrames: number;
};

/** Pixels [n, 3, S, S], already normalised. */
export type ForwardPayload = { readonly pixels: Float32Array<ArrayBuffer> };

/** Frames [K, S, S, 3], and how their tokens become few. */
export type SegmentPayload = { readonly frames: Uint8Array; readonly reduction: SegmentReduction };

export type SegmentReduction =
  | { readonly how: 'merge'; readonly heads: number; readonly keep: number }
  | { readonly how: 'merge'; readonly heads: number; readonly schedule: readonly number[] }
  | { readonly how: Exclude<Reduction, 'merge'>; readonly keep: number };

class TowerWorker {
  readonly #session: Session;
  readonly #data: VisionWorkerData;
  readonly #tables: Float32Array[];
  readonly #planes: Float32Array;
  // A segment's patches are large and never leave this thread: one buffer serves all segments of a size.
  #segmentPatches = new Float32Array(0);

  private constructor(session: Session, data: VisionWorkerData) {
    this.#session = session;
    this.#data = data;
    this.#tables = normalizationTables(data.config);
    this.#planes = new Float32Array(data.batchFrames * this.#frameValues);
  }

  static async start(data: VisionWorkerData) {
    const session = await Session.create(data.model, data.session);
    const worker = new TowerWorker(session, data);
    return {
      handlers: {
        forward: (payload: unknown, signal: AbortSignal) => worker.#forward(payload as ForwardPayload, signal),
        encodeSegment: (payload: unknown, signal: AbortSignal) =>
          worker.#encodeSegment(payload as SegmentPayload, signal),
      },
      info: session.device,
      close: () => session.release(),
    };
  }

  get #frameValues(): number {
    return 3 * this.#data.config.imageSize ** 2;
  }

  async #forward({ pixels }: ForwardPayload, signal: AbortSignal): Promise<Answer> {
    const { patches: count, channels } = this.#data.config;
    const frames = pixels.length / this.#frameValues;
    const patches = new Float32Array(frames * count * channels);
    const cls = await this.#run(frames, (from, to) => pixels.subarray(from, to), patches, signal);
    return {
      value: { patches: float32Tensor(patches, [frames, count, channels]), cls },
      transfer: [patches.buffer, cls.data.buffer as ArrayBuffer],
    };
  }

  async #encodeSegment({ frames, reduction }: SegmentPayload, signal: AbortSignal): Promise<Answer> {
    const { patches: count, channels, imageSize } = this.#data.config;
    const numFrames = frames.length / this.#frameValues;
    const tokens = numFrames * count;
    if (this.#segmentPatches.length !== tokens * channels) this.#segmentPatches = new Float32Array(tokens * channels);
    const patches = this.#segmentPatches;
    const normalized = (from: number, to: number) => {
      const planes = this.#planes.subarray(0, to - from);
      normalizeFrames(frames.subarray(from, to), planes, imageSize, this.#tables);
      return planes;
    };
    const cls = await this.#run(numFrames, normalized, patches, signal);
    const reduced = reduce(float32Tensor(patches, [tokens, channels]), reduction);
    return {
      value: { local: reduced.tokens, sizes: reduced.sizes, cls },
      transfer: [reduced.tokens, reduced.sizes, cls].map(({ data }) => data.buffer as ArrayBuffer),
    };
  }

  /**
   * Runs the tower over micro-batches, straight into `patches`.
   * @param pixels gives the normalised values from one position to another.
   * @returns cls [n, E, C].
   */
  async #run(
    frames: number,
    pixels: (from: number, to: number) => Float32Array,
    patches: Float32Array,
    signal: AbortSignal,
  ): Promise<Float32Tensor> {
    const { config, globalLayers, batchFrames } = this.#data;
    const { imageSize, patches: count, channels } = config;
    const cls = new Float32Array(frames * globalLayers * channels);
    for (let first = 0; first < frames; first += batchFrames) {
      await letAbortsArrive(signal);
      const size = Math.min(batchFrames, frames - first);
      const part = (data: Float32Array, ...dims: number[]) => {
        const values = dims.reduce((product, dim) => product * dim, 1);
        return float32Tensor(data.subarray(first * values, (first + size) * values), [size, ...dims]);
      };
      const input = pixels(first * this.#frameValues, (first + size) * this.#frameValues);
      await this.#session.run(
        { pixels: float32Tensor(input, [size, 3, imageSize, imageSize]) },
        { patches: part(patches, count, channels), cls: part(cls, globalLayers, channels) },
      );
    }
    return float32Tensor(cls, [frames, globalLayers, channels]);
  }
}

function reduce(tokens: Float32Tensor, reduction: SegmentReduction) {
  if (reduction.how !== 'merge') return reduceTokens(tokens, reduction.keep, reduction.how);
  const { how: _, ...merging } = reduction;
  return mergeTokensSync(tokens, merging);
}

await serveWorker(TowerWorker.start);
