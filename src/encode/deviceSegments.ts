// Encodes a video in the memory of a GPU: frames go up once, and everything up to the tokens stays there.
import { LongVLMError } from '../base/errors.js';
import { isOutOfMemory } from '../compute/gpuMemory.js';
import { DeviceBuffer } from '../kernels/deviceBuffer.js';
import { type DeviceOperation, mergingTokens, poolingClsTokens } from '../kernels/deviceOperation.js';
import { type Merging, mergingOf } from '../reduce/merge.js';
import { gpuBatch } from '../tower/batch.js';
import { DeviceTokens } from './deviceTokens.js';
import { emptyTokens, type Gathering, type VideoShape, type VideoTokens } from './gatheredTokens.js';
import type { SegmentEncoder } from './segment.js';

/**
 * Gathers on the GPU that the tower runs on. Starts the tower.
 * @param stepsAtOnce steps of the tower that are encoded in one run, in whole segments. Defaults to as many as the GPU needs
 * @returns undefined where the tower runs elsewhere, or the reducer knows the host alone
 * @throws what a run of the tower does; LongVLMError `ERR_LONGVLM_CUDA_OOM` when a segment does not fit into the GPU's memory
 */
export async function gatherOnDevice(
  encoder: SegmentEncoder,
  shape: VideoShape,
  signal: AbortSignal | undefined,
  stepsAtOnce = gpuBatch(encoder.shape, encoder.tower.precision),
): Promise<Gathering | undefined> {
  const merging = mergingOf(encoder.reducer);
  const gpu = merging && (await encoder.tower.gpu(signal));
  if (gpu === undefined) return undefined;
  for (let atOnce = stepsAtOnce; ; atOnce = Math.floor(atOnce / 2))
    try {
      return new DeviceSegments(encoder, shape, merging!, { device: `cuda:${gpu}`, stepsAtOnce: atOnce }, signal);
    } catch (error) {
      if (!isOutOfMemory(error)) throw error;
      if (atOnce < 2) throw tooLarge(shape, error);
    }
}

function tooLarge({ segmentFrames }: VideoShape, error: Error): LongVLMError {
  return new LongVLMError(
    'ERR_LONGVLM_CUDA_OOM',
    `A segment of ${segmentFrames} frames does not fit into the GPU's memory: ${error.message} Or take fewer frames in a segment or fewer of the language model's gpuLayers, or device cpu.`,
    { cause: error },
  );
}

type Place = { readonly device: `cuda:${number}`; readonly stepsAtOnce: number };

class DeviceSegments implements Gathering {
  readonly #encoder: SegmentEncoder;
  readonly #shape: VideoShape;
  readonly #merging: Merging;
  readonly #device: `cuda:${number}`;
  readonly #signal: AbortSignal | undefined;
  /** Steps of a segment: its frames, or groups of them. */
  readonly #steps: number;
  /** Segments that are encoded at once. */
  readonly #atOnce: number;
  /** Layers whose class tokens are pooled: all of them or none. */
  readonly #layers: number;
  /** Everything that is freed in the end, and views, each freed when it is no longer needed. */
  readonly #kept: DeviceBuffer[] = [];
  readonly #pixels: DeviceBuffer;
  readonly #patches: DeviceBuffer;
  readonly #assignment: DeviceBuffer;
  readonly #summaries: DeviceBuffer | undefined;
  /** The pooled class tokens of all layers, then the merged tokens: the last layers are next to those. */
  readonly #tokens: DeviceBuffer;
  readonly #sizes: DeviceBuffer;
  readonly #waiting: Uint8Array[] = [];
  #encoded = 0;

  constructor(
    encoder: SegmentEncoder,
    shape: VideoShape,
    merging: Merging,
    { device, stepsAtOnce }: Place,
    signal: AbortSignal | undefined,
  ) {
    this.#encoder = encoder;
    this.#shape = shape;
    this.#merging = merging;
    this.#device = device;
    this.#signal = signal;
    const { config, framesPerStep, outputType } = encoder.tower;
    const { frames, segmentFrames, tokensPerSegment, globalLayers } = shape;
    const { channels, summaries } = config;
    const { patches, width, height } = encoder.shape;
    this.#steps = segmentFrames / framesPerStep;
    const segments = frames / segmentFrames;
    this.#layers = globalLayers > 0 ? summaries : 0;
    this.#atOnce = Math.min(segments, Math.max(1, Math.floor(stepsAtOnce / this.#steps)));
    const most = this.#atOnce * this.#steps;
    const step = framesPerStep > 1 ? [framesPerStep, height, width, 3] : [height, width, 3];
    const tokens = segments * tokensPerSegment;
    try {
      this.#pixels = this.#allocate('uint8', [most, ...step]);
      this.#patches = this.#allocate(outputType, [most, patches, channels]);
      this.#assignment = this.#allocate('int32', [this.#atOnce, this.#steps * patches]);
      this.#summaries =
        this.#layers > 0 ? this.#allocate(outputType, [segments * this.#steps, summaries, channels]) : undefined;
      this.#tokens = this.#allocate(outputType, [this.#layers + tokens, channels]);
      this.#sizes = this.#allocate('float32', [tokens]);
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  async add(frames: Uint8Array): Promise<number> {
    const { segmentFrames } = this.#shape;
    this.#waiting.push(frames);
    if (this.#waiting.length === this.#atOnce || this.#encoded + this.#waiting.length === this.#segments)
      await this.#encode(this.#waiting.splice(0));
    return this.#encoded * segmentFrames;
  }

  async finish(): Promise<VideoTokens> {
    const { globalLayers, segmentFrames } = this.#shape;
    const { channels, grid } = this.#encoder.tower.config;
    const { tokens: data, ...tensors } = emptyTokens(this.#shape, channels);
    const rows = this.#tokens.rows(this.#layers - globalLayers, this.#tokens.dims[0]!);
    const tokens = rows.type === 'float32' ? rows : await this.#widened(rows);
    const sizes = this.#sizes.rows(0, this.#sizes.dims[0]!);
    const onDevice = new DeviceTokens({ buffer: tokens, data }, { buffer: sizes, data: tensors.sizes.data });
    await onDevice.stay();
    return { ...tensors, grid: { steps: segmentFrames, rows: grid[0], columns: grid[1] }, onDevice };
  }

  dispose(): void {
    for (const buffer of this.#kept.splice(0)) buffer.dispose();
  }

  get #segments(): number {
    return this.#shape.frames / this.#shape.segmentFrames;
  }

  /** One run: the frames go up, through the tower, and their patches are merged, which is waited for once. */
  async #encode(segments: readonly Uint8Array[]): Promise<void> {
    const { tokensPerSegment } = this.#shape;
    const { tower, shape } = this.#encoder;
    const { channels } = tower.config;
    const { patches, grid } = shape;
    const steps = this.#steps;
    const count = segments.length;
    const first = this.#encoded;
    const last = first + count;
    const views: DeviceBuffer[] = [];
    const rows = (buffer: DeviceBuffer, from: number, to: number) => {
      const view = buffer.rows(from, to);
      views.push(view);
      return view;
    };
    try {
      const uploads = segments.map((data, index) => ({
        buffer: rows(this.#pixels, index * steps, (index + 1) * steps),
        data,
      }));
      const encoded = rows(this.#patches, 0, count * steps);
      const summaries = this.#summaries && rows(this.#summaries, first * steps, last * steps);
      const merged = [first, last].map((segment) => this.#layers + segment * tokensPerSegment) as [number, number];
      const operations: DeviceOperation[] = [
        mergingTokens(
          encoded.reshape([count, steps * patches, channels]),
          this.#merging({ frames: steps, patches, grid, channels }),
          {
            tokens: rows(this.#tokens, ...merged).reshape([count, tokensPerSegment, channels]),
            sizes: rows(this.#sizes, first * tokensPerSegment, last * tokensPerSegment).reshape([
              count,
              tokensPerSegment,
            ]),
            assignment: rows(this.#assignment, 0, count),
          },
        ),
      ];
      if (this.#summaries && last === this.#segments)
        operations.push(poolingClsTokens(this.#summaries, rows(this.#tokens, 0, this.#layers)));
      await tower.encodeOnGpu(
        { pixels: rows(this.#pixels, 0, count * steps), patches: encoded, ...(summaries && { summaries }) },
        { uploads, operations },
        this.#signal,
      );
      this.#encoded = last;
    } finally {
      for (const view of views) view.dispose();
    }
  }

  /** As the projector takes them; disposes the halves. */
  async #widened(halves: DeviceBuffer): Promise<DeviceBuffer> {
    const values = DeviceBuffer.allocate('float32', halves.dims, { device: this.#device });
    try {
      await this.#encoder.tower.widenOnGpu(halves, values, this.#signal);
      return values;
    } catch (error) {
      values.dispose();
      throw error;
    } finally {
      halves.dispose();
    }
  }

  #allocate(type: DeviceBuffer['type'], dims: readonly number[]): DeviceBuffer {
    const buffer = DeviceBuffer.allocate(type, dims, { device: this.#device });
    this.#kept.push(buffer);
    return buffer;
  }
}
