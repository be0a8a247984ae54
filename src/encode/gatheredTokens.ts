// Gathers a video's tokens segment by segment: on the host here, on a GPU in deviceSegments.ts.
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import { poolClsTokens, type ReductionReport } from '../kernels/index.js';
import type { SegmentShape, VideoReducer, VideoReduction } from '../reduce/reducer.js';
import type { DeviceTokens } from './deviceTokens.js';
import type { TokenGrid } from './runs.js';
import {
  checkReducedVideo,
  copyLastLayers,
  encodeSegment,
  encodeTokens,
  type SegmentEncoder,
  type TokenEncoder,
} from './segment.js';

/** What a video's tokens will be. */
export type VideoShape = {
  readonly frames: number;
  readonly segmentFrames: number;
  readonly tokensPerSegment: number;
  readonly globalLayers: number;
};

/** The tokens of a video, and where they are if that is not the host yet. */
export type VideoTokens = {
  /** [segments, M, C]. */
  readonly local: Float32Tensor;
  /** [E, C], next to the local tokens in memory. */
  readonly global: Float32Tensor;
  /** [segments, M]. */
  readonly sizes: Float32Tensor;
  /** [segments · M]: places in `grid` of tokens that were picked. */
  readonly positions?: Int32Array | undefined;
  /** [segments · patches of a segment]: for each patch the index of its token in the segment, or -1. */
  readonly owners?: Int32Array | undefined;
  /** The tokens of a segment before it was reduced. */
  readonly grid: TokenGrid;
  /** Of a video that was reduced as a whole. */
  readonly report?: ReductionReport | undefined;
  readonly onDevice?: DeviceTokens | undefined;
};

/** Takes the segments of one video in order. */
export type Gathering = {
  /**
   * @param frames RGB [K, height, width, 3], whose buffer it may detach
   * @returns how many frames are encoded, which may be fewer than it has got
   */
  add(frames: Uint8Array): Promise<number>;
  /** After the last segment. */
  finish(): Promise<VideoTokens>;
  /** Frees what is not needed for the tokens. */
  dispose(): void;
};

/** Memory for the tokens of a video, global and local next to each other in the order that the projector takes. */
export function emptyTokens({ frames, segmentFrames, tokensPerSegment, globalLayers }: VideoShape, channels: number) {
  const segments = frames / segmentFrames;
  const tokens = new Float32Array((globalLayers + segments * tokensPerSegment) * channels);
  const sizes = new Float32Array(segments * tokensPerSegment);
  return {
    tokens,
    global: float32Tensor(tokens.subarray(0, globalLayers * channels), [globalLayers, channels]),
    local: float32Tensor(tokens.subarray(globalLayers * channels), [segments, tokensPerSegment, channels]),
    sizes: float32Tensor(sizes, [segments, tokensPerSegment]),
  };
}

/** Gathers on the host. */
export function gatherOnHost(encoder: SegmentEncoder, shape: VideoShape, signal: AbortSignal | undefined): Gathering {
  const { segmentFrames, tokensPerSegment } = shape;
  const channels = encoder.projector?.outChannels ?? encoder.tower.config.channels;
  const { global, local, sizes } = emptyTokens(shape, channels);
  const classTokens = new ClassTokens(encoder, shape, signal);
  let grid: TokenGrid | undefined;
  let positions: Int32Array | undefined;
  let owners: Int32Array | undefined;
  let index = 0;
  return {
    async add(pixels) {
      const encoded = await encodeSegment(encoder, pixels, { move: true, signal });
      local.data.set(encoded.local.data, index * tokensPerSegment * channels);
      sizes.data.set(encoded.sizes.data, index * tokensPerSegment);
      grid = encoded.grid;
      if (encoded.positions) {
        positions ??= new Int32Array(sizes.data.length);
        positions.set(encoded.positions, index * tokensPerSegment);
      }
      if (encoded.owners) {
        owners ??= new Int32Array((shape.frames / segmentFrames) * encoded.owners.length);
        owners.set(encoded.owners, index * encoded.owners.length);
      }
      classTokens.add(encoded.summaries);
      index++;
      return index * segmentFrames;
    },
    async finish() {
      await classTokens.pool(global.data);
      return { local, global, sizes, positions, owners, grid: grid! };
    },
    dispose() {},
  };
}

/** Gathers on the host for a reducer that takes the video as a whole; `video`: all of its tokens. */
export function gatherWholeVideo(
  encoder: TokenEncoder,
  reducer: VideoReducer,
  shape: VideoShape,
  video: SegmentShape,
  signal: AbortSignal | undefined,
): Gathering {
  const { tower } = encoder;
  const reduction = reducer.start(video, signal);
  const options = { move: true, attention: reducer.attention !== undefined, signal };
  const classTokens = new ClassTokens(encoder, shape, signal);
  let steps = 0;
  return {
    async add(pixels) {
      const { tokens, segment, patches, summaries, attention } = await encodeTokens(encoder, pixels, options);
      await reduction.add(tokens, attention);
      // Whoever takes tokens keeps none of them.
      if (tokens.data === patches.data) tower.reuse(patches);
      classTokens.add(summaries);
      steps += segment.frames;
      return steps * tower.framesPerStep;
    },
    finish: () => finishWholeVideo(reducer, reduction, shape, video, (target) => classTokens.pool(target)),
    dispose() {},
  };
}

/** What a reducer of whole videos made of one. `poolInto` writes the global tokens. */
export async function finishWholeVideo(
  reducer: VideoReducer,
  reduction: VideoReduction,
  shape: VideoShape,
  video: SegmentShape,
  poolInto: (target: Float32Array) => Promise<void>,
): Promise<VideoTokens> {
  const reduced = await checkReducedVideo(reducer, await reduction.finish(), video);
  const tokensPerSegment = reduced.sizes.data.length;
  const { global, local, sizes } = emptyTokens({ ...shape, tokensPerSegment }, video.channels);
  local.data.set(reduced.tokens.data);
  sizes.data.set(reduced.sizes.data);
  await poolInto(global.data);
  const [rows, columns] = video.grid;
  const { positions, owners, report } = reduced;
  return { local, global, sizes, positions, owners, report, grid: { steps: video.frames, rows, columns } };
}

/** The last layers' class tokens of a video, which become its global tokens. */
class ClassTokens {
  readonly #encoder: TokenEncoder;
  readonly #signal: AbortSignal | undefined;
  readonly #values: Float32Tensor;
  #filled = 0;

  constructor(encoder: TokenEncoder, { frames, globalLayers }: VideoShape, signal: AbortSignal | undefined) {
    const { config, framesPerStep } = encoder.tower;
    const dims = [frames / framesPerStep, globalLayers, config.channels] as const;
    this.#encoder = encoder;
    this.#signal = signal;
    this.#values = float32Tensor(new Float32Array(dims[0] * dims[1] * dims[2]), dims);
  }

  /** Takes those of the next steps, [steps, layers, C]. */
  add(summaries: Float32Tensor | undefined): void {
    const { data, dims } = this.#values;
    const [, layers, channels] = dims as [number, number, number];
    if (!summaries || layers === 0) return;
    copyLastLayers(summaries, layers, data.subarray(this.#filled));
    this.#filled += summaries.dims[0]! * layers * channels;
  }

  /** Writes the mean of each layer over all frames: [E, C], or [E, d] if projected. */
  async pool(target: Float32Array): Promise<void> {
    if (target.length === 0) return;
    const { projector } = this.#encoder;
    const own = this.#signal && { signal: this.#signal };
    const global = (await poolClsTokens(this.#values, { ...own })) as Float32Tensor;
    target.set((projector ? await projector.project(global, { transfer: true, ...own }) : global).data);
  }
}
