// Encodes a video segment by segment in the memory of a GPU: frames go up once, and everything up to the tokens stays there.
import { LongVLMError } from '../base/errors.js';
import { DeviceBuffer } from '../kernels/deviceBuffer.js';
import { mergingTokens } from '../kernels/deviceOperation.js';
import { type Merging, mergingOf } from '../reduce/merge.js';
import { pickOnDevice } from '../reduce/pick.js';
import { gpuBatch } from '../tower/batch.js';
import { type DeviceOutputs, type DevicePlace, type DeviceRun, DeviceRuns, withRoom } from './deviceRuns.js';
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
  return withRoom(
    stepsAtOnce,
    (atOnce) => new DeviceSegments(encoder, shape, merging!, { device: `cuda:${gpu}`, stepsAtOnce: atOnce }, signal),
    (error) => {
      throw tooLarge(shape, error);
    },
  );
}

function tooLarge({ segmentFrames }: VideoShape, error: Error): LongVLMError {
  return new LongVLMError(
    'ERR_LONGVLM_CUDA_OOM',
    `A segment of ${segmentFrames} frames does not fit into the GPU's memory: ${error.message} Or take fewer frames in a segment or fewer of the language model's gpuLayers, or device cpu.`,
    { cause: error },
  );
}

class DeviceSegments implements Gathering {
  readonly #encoder: SegmentEncoder;
  readonly #shape: VideoShape;
  readonly #merging: Merging;
  readonly #device: `cuda:${number}`;
  readonly #signal: AbortSignal | undefined;
  /** Steps of a segment: its frames, or groups of them. */
  readonly #steps: number;
  readonly #runs: DeviceRuns;
  readonly #patches: DeviceBuffer;
  readonly #assignment: DeviceBuffer;
  /** The pooled class tokens of all layers, then what is kept of the segments: the last layers are next to those. */
  readonly #tokens: DeviceBuffer;
  /** Of merged tokens, or of those of one run where tokens are picked. */
  readonly #sizes: DeviceBuffer;
  /** Where tokens are picked, the means of one run, and what comes down of the picked. */
  readonly #picked:
    | { readonly means: DeviceBuffer; readonly sizes: Float32Array; readonly positions: Int32Array }
    | undefined;

  constructor(
    encoder: SegmentEncoder,
    shape: VideoShape,
    merging: Merging,
    place: DevicePlace,
    signal: AbortSignal | undefined,
  ) {
    this.#encoder = encoder;
    this.#shape = shape;
    this.#merging = merging;
    this.#device = place.device;
    this.#signal = signal;
    const { config, framesPerStep, outputType } = encoder.tower;
    const { frames, segmentFrames, tokensPerSegment, globalLayers } = shape;
    const { patches } = encoder.shape;
    this.#steps = segmentFrames / framesPerStep;
    const steps = { steps: frames / framesPerStep, stepsOfRead: this.#steps, pools: globalLayers > 0 };
    const runs = new DeviceRuns(encoder, steps, place, signal);
    this.#runs = runs;
    const tokens = (frames / segmentFrames) * tokensPerSegment;
    try {
      this.#patches = runs.allocate(outputType, [runs.most, patches, config.channels]);
      this.#assignment = runs.allocate('int32', [runs.most / this.#steps, this.#steps * patches]);
      this.#tokens = runs.allocate(outputType, [runs.layers + tokens, config.channels]);
      const keptAtOnce = (runs.most / this.#steps) * tokensPerSegment;
      this.#sizes = runs.allocate('float32', [merging.picks ? keptAtOnce : tokens]);
      this.#picked = merging.picks
        ? {
            means: runs.allocate(outputType, [keptAtOnce, config.channels]),
            sizes: new Float32Array(tokens),
            positions: new Int32Array(tokens),
          }
        : undefined;
    } catch (error) {
      runs.dispose();
      throw error;
    }
  }

  async add(frames: Uint8Array): Promise<number> {
    const ran: DeviceRun[] = [];
    const steps = await this.#runs.add(frames, (run) => {
      ran.push(run);
      return this.#plan(run);
    });
    for (const run of ran) await this.#pick(run);
    return steps * this.#encoder.tower.framesPerStep;
  }

  async finish(): Promise<VideoTokens> {
    const { globalLayers } = this.#shape;
    const { channels } = this.#encoder.tower.config;
    const [gridRows, columns] = this.#encoder.shape.grid;
    const { tokens: data, ...tensors } = emptyTokens(this.#shape, channels);
    const rows = this.#tokens.rows(this.#runs.layers - globalLayers, this.#tokens.dims[0]!);
    const tokens = rows.type === 'float32' ? rows : await this.#widened(rows);
    const grid = { steps: this.#steps, rows: gridRows, columns };
    if (this.#picked) {
      const { sizes, positions } = this.#picked;
      tensors.sizes.data.set(sizes);
      const onDevice = new DeviceTokens({ buffer: tokens, data });
      await onDevice.stay();
      return { ...tensors, positions, grid, onDevice };
    }
    const sizes = this.#sizes.rows(0, this.#sizes.dims[0]!);
    const onDevice = new DeviceTokens({ buffer: tokens, data }, { buffer: sizes, data: tensors.sizes.data });
    await onDevice.stay();
    return { ...tensors, grid, onDevice };
  }

  dispose(): void {
    this.#runs.dispose();
  }

  /** The patches of whole segments, which are merged behind the tower. */
  #plan({ first, last, isLast, rows }: DeviceRun): DeviceOutputs {
    const { tokensPerSegment } = this.#shape;
    const { tower, shape } = this.#encoder;
    const { channels } = tower.config;
    const { patches, grid } = shape;
    const { layers } = this.#runs;
    const steps = this.#steps;
    const count = (last - first) / steps;
    const encoded = rows(this.#patches, 0, last - first);
    const [from, to] = [first, last].map((step) => (step / steps) * tokensPerSegment) as [number, number];
    const [kept, sizes] = this.#picked
      ? [rows(this.#picked.means, 0, to - from), rows(this.#sizes, 0, to - from)]
      : [rows(this.#tokens, layers + from, layers + to), rows(this.#sizes, from, to)];
    const merging = mergingTokens(
      encoded.reshape([count, steps * patches, channels]),
      this.#merging.optionsFor({ frames: steps, patches, grid, channels }),
      {
        tokens: kept.reshape([count, tokensPerSegment, channels]),
        sizes: sizes.reshape([count, tokensPerSegment]),
        assignment: rows(this.#assignment, 0, count),
      },
    );
    const pooling = isLast && layers > 0 ? this.#runs.pooling(rows(this.#tokens, 0, layers)) : [];
    return { patches: encoded, operations: [merging, ...pooling] };
  }

  /** Keeps of each group of a run the token that is most like the mean, if tokens are picked. */
  async #pick({ first, last }: DeviceRun): Promise<void> {
    if (!this.#picked) return;
    const { tokensPerSegment } = this.#shape;
    const steps = this.#steps;
    const count = (last - first) / steps;
    const [, patches, channels] = this.#patches.dims as [number, number, number];
    const from = (first / steps) * tokensPerSegment;
    const kept = count * tokensPerSegment;
    const at = this.#runs.layers + from;
    const views = [
      this.#patches.rows(0, last - first),
      this.#picked.means.rows(0, kept),
      this.#sizes.rows(0, kept),
      this.#assignment.rows(0, count),
      this.#tokens.rows(at, at + kept),
    ] as const;
    const [encoded, means, sizes, assignment, out] = views;
    try {
      const merged = {
        tokens: means.reshape([count, tokensPerSegment, channels]),
        sizes: sizes.reshape([count, tokensPerSegment]),
        assignment,
      };
      const segments = { patches: encoded.reshape([count, steps * patches, channels]), merged };
      const picked = await pickOnDevice(segments, out, this.#signal);
      this.#picked.sizes.set(picked.sizes, from);
      this.#picked.positions.set(picked.positions, from);
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
}
