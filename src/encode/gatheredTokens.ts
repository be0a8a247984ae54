// Gathers a video's tokens segment by segment: on the host here, on a GPU in deviceSegments.ts.
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import { poolClsTokens } from '../kernels/index.js';
import type { Projector } from '../projector/projector.js';
import type { DeviceTokens } from './deviceTokens.js';
import type { TokenGrid } from './runs.js';
import { copyLastLayers, encodeSegment, type SegmentEncoder } from './segment.js';

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
  /** The tokens of a segment before it was reduced. */
  readonly grid: TokenGrid;
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
  const { segmentFrames, tokensPerSegment, globalLayers, frames } = shape;
  const { config, framesPerStep } = encoder.tower;
  const channels = encoder.projector?.outChannels ?? config.channels;
  const { global, local, sizes } = emptyTokens(shape, channels);
  const clsValues = (segmentFrames / framesPerStep) * globalLayers * config.channels;
  const cls = new Float32Array((frames / segmentFrames) * clsValues);
  let grid: TokenGrid | undefined;
  let positions: Int32Array | undefined;
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
      if (encoded.summaries && globalLayers > 0)
        copyLastLayers(encoded.summaries, globalLayers, cls.subarray(index * clsValues));
      index++;
      return index * segmentFrames;
    },
    async finish() {
      const summaries = float32Tensor(cls, [frames / framesPerStep, globalLayers, config.channels]);
      if (globalLayers > 0) global.data.set(await pooled(summaries, encoder.projector, signal));
      return { local, global, sizes, positions, grid: grid! };
    },
    dispose() {},
  };
}

/** The mean of each layer's class tokens over all frames: [E, C], or [E, d] if projected. */
async function pooled(
  summaries: Float32Tensor,
  projector: Projector | undefined,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const global = (await poolClsTokens(summaries, { ...(signal && { signal }) })) as Float32Tensor;
  return (projector ? await projector.project(global, { transfer: true, ...(signal && { signal }) }) : global).data;
}
