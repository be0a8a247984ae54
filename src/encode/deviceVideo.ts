// Encodes a video in the memory of a GPU for a reducer that takes it as a whole: its tokens are gathered and reduced there.
import { type Float32Tensor, float32Tensor, type Tensor, toFloat32 } from '../base/tensor.js';
import { isOutOfMemory } from '../compute/gpuMemory.js';
import { DeviceBuffer } from '../kernels/deviceBuffer.js';
import { gatherRows } from '../kernels/deviceReduction.js';
import { deviceReduction, type ReduceOnDevice } from '../reduce/onDevice.js';
import type { SegmentShape, VideoReducer } from '../reduce/reducer.js';
import { gpuBatch } from '../tower/batch.js';
import { type DeviceOutputs, type DevicePlace, type DeviceRun, DeviceRuns, withRoom } from './deviceRuns.js';
import { DeviceTokens } from './deviceTokens.js';
import { emptyTokens, finishWholeVideo, type Gathering, type VideoShape, type VideoTokens } from './gatheredTokens.js';
import type { TokenEncoder } from './segment.js';

/** A video for a reducer that takes it as a whole. */
export type WholeVideo = {
  readonly reducer: VideoReducer;
  readonly shape: VideoShape;
  /** All of its tokens. */
  readonly video: SegmentShape;
  /** Steps of the tower in what is added at once. */
  readonly stepsOfRead: number;
};

/**
 * Gathers on the GPU that the tower runs on. Starts the tower.
 * @param stepsAtOnce steps of the tower that are encoded in one run, in whole reads. Defaults to as many as the GPU needs
 * @returns undefined where the tower or the projector run elsewhere, the reducer cannot reduce this video there, or there is no room
 * @throws what a run of the tower does
 */
export async function gatherVideoOnDevice(
  encoder: TokenEncoder,
  whole: WholeVideo,
  signal: AbortSignal | undefined,
  stepsAtOnce = gpuBatch(encoder.shape, encoder.tower.precision),
): Promise<Gathering | undefined> {
  const { tower, projector } = encoder;
  const { reducer, video } = whole;
  const reduce = deviceReduction(reducer, video);
  if (!reduce) return undefined;
  if (reducer.attention) await tower.attend();
  const gpu = await tower.gpu(signal);
  if (gpu === undefined || (projector && (await projector.gpu(signal)) !== gpu)) return undefined;
  return withRoom<Gathering | undefined>(
    stepsAtOnce,
    (atOnce) => new DeviceVideo(encoder, whole, reduce, { device: `cuda:${gpu}`, stepsAtOnce: atOnce }, signal),
    () => undefined,
  );
}

/** What is left of a run for when it has ended. */
type Ran = { readonly first: number; readonly last: number; readonly attention?: Tensor };

class DeviceVideo implements Gathering {
  readonly #encoder: TokenEncoder;
  readonly #whole: WholeVideo;
  readonly #reduce: ReduceOnDevice;
  readonly #device: `cuda:${number}`;
  readonly #signal: AbortSignal | undefined;
  readonly #runs: DeviceRuns;
  /** Freed in the end. */
  readonly #held: DeviceBuffer[] = [];
  /** All tokens of the video, [steps, N, channels]: the tower's, or what the projector makes of them. */
  readonly #tokens: DeviceBuffer;
  /** The tower's in one run, [steps, N, C], where they are projected. */
  readonly #patches: DeviceBuffer | undefined;
  /** [layers, C]. */
  readonly #pooled: DeviceBuffer | undefined;
  readonly #attentionOfRun: DeviceBuffer | undefined;
  /** [steps, N]. */
  readonly #attention: Float32Tensor | undefined;

  constructor(
    encoder: TokenEncoder,
    whole: WholeVideo,
    reduce: ReduceOnDevice,
    place: DevicePlace,
    signal: AbortSignal | undefined,
  ) {
    this.#encoder = encoder;
    this.#whole = whole;
    this.#reduce = reduce;
    this.#device = place.device;
    this.#signal = signal;
    const { tower, projector } = encoder;
    const { outputType: type, config } = tower;
    const { frames: steps, patches, channels } = whole.video;
    const pools = whole.shape.globalLayers > 0;
    const runs = new DeviceRuns(encoder, { steps, stepsOfRead: whole.stepsOfRead, pools }, place, signal);
    this.#runs = runs;
    try {
      this.#tokens = this.#allocate(projector ? 'float32' : type, [steps, patches, channels]);
      this.#patches = projector && runs.allocate(type, [runs.most, patches, config.channels]);
      this.#pooled = pools ? this.#allocate(type, [runs.layers, config.channels]) : undefined;
      if (whole.reducer.attention) {
        this.#attentionOfRun = runs.allocate(type, [runs.most, patches]);
        this.#attention = float32Tensor(new Float32Array(steps * patches), [steps, patches]);
      }
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  async add(frames: Uint8Array): Promise<number> {
    const ran: Ran[] = [];
    const steps = await this.#runs.add(frames, (run) => this.#plan(run, ran));
    for (const run of ran) await this.#take(run);
    return steps * this.#encoder.tower.framesPerStep;
  }

  async finish(): Promise<VideoTokens> {
    // Their room is for what reduces.
    this.#runs.dispose();
    try {
      return await this.#reduceThere();
    } catch (error) {
      if (!isOutOfMemory(error)) throw error;
      return await this.#reduceOnHost();
    }
  }

  dispose(): void {
    this.#runs.dispose();
    for (const buffer of this.#held.splice(0)) buffer.dispose();
  }

  #plan({ first, last, isLast, rows }: DeviceRun, ran: Ran[]): DeviceOutputs {
    const patches = this.#patches ? rows(this.#patches, 0, last - first) : rows(this.#tokens, first, last);
    const operations = isLast && this.#pooled ? this.#runs.pooling(this.#pooled) : [];
    if (!this.#attentionOfRun) {
      ran.push({ first, last });
      return { patches, operations };
    }
    const attention = rows(this.#attentionOfRun, 0, last - first);
    const { type, dims } = attention;
    const count = dims[0]! * dims[1]!;
    const data = type === 'float16' ? new Uint16Array(count) : new Float32Array(count);
    ran.push({ first, last, attention: { type, data, dims } as Tensor });
    return { patches, attention, operations, downloads: [{ buffer: attention, data }] };
  }

  /** What is to be done once a run has ended. */
  async #take({ first, last, attention }: Ran): Promise<void> {
    const { patches } = this.#whole.video;
    if (attention) this.#attention!.data.set(toFloat32(attention).data, first * patches);
    if (!this.#patches) return;
    const count = (last - first) * patches;
    const given = this.#patches.rows(0, last - first);
    const embeddings = this.#tokens.rows(first, last);
    try {
      const inRows = [given, embeddings].map((buffer) => buffer.reshape([count, buffer.dims[2]!]));
      await this.#project(inRows[0]!, inRows[1]!);
    } finally {
      given.dispose();
      embeddings.dispose();
    }
  }

  /** Projects the tower's tokens [count, C] to embeddings [count, d]. */
  async #project(given: DeviceBuffer, embeddings: DeviceBuffer): Promise<void> {
    const projector = this.#encoder.projector!;
    if (given.type === 'float32') return await projector.projectInto(embeddings, given, this.#signal);
    const features = DeviceBuffer.allocate('float32', given.dims, { device: this.#device });
    try {
      await this.#encoder.tower.widenOnGpu(given, features, this.#signal);
      await projector.projectInto(embeddings, features, this.#signal);
    } finally {
      features.dispose();
    }
  }

  async #reduceThere(): Promise<VideoTokens> {
    const { shape, video } = this.#whole;
    const { frames: steps, channels } = video;
    const attention = this.#attention && { attention: this.#attention };
    const reduced = await this.#reduce(await this.#embeddings(), {
      ...attention,
      ...(this.#signal && { signal: this.#signal }),
    });
    this.#held.push(reduced.tokens);
    const { indices, sizes, report } = reduced;
    const count = indices.length;
    const { globalLayers } = shape;
    const { tokens: data, ...tensors } = emptyTokens({ ...shape, tokensPerSegment: count }, channels);
    tensors.sizes.data.set(sizes.data);
    const dims = [globalLayers + count, channels];
    const tokens = DeviceBuffer.allocate('float32', dims, { device: this.#device });
    try {
      const { type } = this.#tokens;
      const placed = type === 'float32' ? tokens : this.#allocate(type, dims);
      if (globalLayers > 0) await this.#placeGlobal(this.#rows(placed, 0, globalLayers));
      await this.#placeLocal(reduced.tokens, indices, this.#rows(placed, globalLayers, dims[0]!));
      if (placed !== tokens) await this.#encoder.tower.widenOnGpu(placed, tokens, this.#signal);
      const onDevice = new DeviceTokens({ buffer: tokens, data });
      await onDevice.stay();
      const [rows, columns] = video.grid;
      return { ...tensors, positions: indices, report, grid: { steps, rows, columns }, onDevice };
    } catch (error) {
      tokens.dispose();
      throw error;
    }
  }

  /** The last layers' pooled class tokens, projected if the others are. */
  async #placeGlobal(out: DeviceBuffer): Promise<void> {
    const { layers } = this.#runs;
    const first = layers - this.#whole.shape.globalLayers;
    if (this.#encoder.projector) await this.#project(this.#rows(this.#pooled!, first, layers), out);
    else await gatherRows(this.#pooled!, countUp(layers - first, first), out, this.#signal);
  }

  /** Embeddings of all tokens, [steps, N, width]. */
  async #embeddings(): Promise<DeviceBuffer> {
    const { frames, patches, channels, width = channels } = this.#whole.video;
    if (width === channels) return this.#tokens;
    const rows = channels / width;
    const embeddings = this.#allocate(this.#tokens.type, [frames, patches, width]);
    const first = countUp(frames * patches).map((token) => token * rows);
    await gatherRows(this.#tokens.reshape([frames * patches * rows, width]), first, embeddings, this.#signal);
    return embeddings;
  }

  /**
   * Puts embeddings where the projector or the language model takes them, with the rows for later layers of the tokens that stand in
   * their places.
   * @param embeddings [K, width]
   * @param indices of these tokens
   * @param out [K, channels]
   */
  async #placeLocal(embeddings: DeviceBuffer, indices: Int32Array, out: DeviceBuffer): Promise<void> {
    const { frames, patches, channels, width = channels } = this.#whole.video;
    const count = indices.length;
    if (width === channels) return await gatherRows(embeddings, countUp(count), out, this.#signal);
    const rows = channels / width;
    // Whole tokens, then their embeddings, whose rows are then told to be the first of each token.
    const all = this.#allocate(embeddings.type, [count * (rows + 1), width]);
    const whole = this.#rows(all, 0, count * rows).reshape([count, channels]);
    await gatherRows(this.#tokens.reshape([frames * patches, channels]), indices, whole, this.#signal);
    await gatherRows(embeddings, countUp(count), this.#rows(all, count * rows, count * (rows + 1)), this.#signal);
    const order = countUp(count * rows).map((row) => (row % rows === 0 ? count * rows + row / rows : row));
    await gatherRows(all, order, out.reshape([count * rows, width]), this.#signal);
  }

  /** Where the GPU has no room to reduce what it has gathered. */
  async #reduceOnHost(): Promise<VideoTokens> {
    const { reducer, shape, video } = this.#whole;
    const own = this.#signal && { signal: this.#signal };
    const reduction = reducer.start(video, this.#signal);
    const tokens = toFloat32((await this.#tokens.download(own)) as Tensor);
    const { frames, patches, channels } = video;
    await reduction.add(float32Tensor(tokens.data, [frames * patches, channels]), this.#attention);
    return finishWholeVideo(reducer, reduction, shape, video, async (target) => {
      if (target.length === 0) return;
      const { layers } = this.#runs;
      const rows = this.#rows(this.#pooled!, layers - shape.globalLayers, layers);
      const global = toFloat32((await rows.download(own)) as Tensor);
      const { projector } = this.#encoder;
      target.set((projector ? await projector.project(global, { ...own }) : global).data);
    });
  }

  #allocate(type: DeviceBuffer['type'], dims: readonly number[]): DeviceBuffer {
    const buffer = DeviceBuffer.allocate(type, dims, { device: this.#device });
    this.#held.push(buffer);
    return buffer;
  }

  /** Rows [from, to) until the end. */
  #rows(buffer: DeviceBuffer, from: number, to: number): DeviceBuffer {
    const rows = buffer.rows(from, to);
    this.#held.push(rows);
    return rows;
  }
}

const countUp = (count: number, first = 0) => Int32Array.from({ length: count }, (_, index) => first + index);
