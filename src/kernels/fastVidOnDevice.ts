// FastVID on a GPU: tokens stay there; the frames' means, cluster centres and counts come down, as what follows depends on them.
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import { checkSignal } from '../base/validate.js';
import { type NativeBinding, type NativeTask, runNative } from '../binding.js';
import { allocateOn, DeviceBuffer, type DeviceTensorType } from './deviceBuffer.js';
import { type DeviceVideo, gatherRows, type ReducedDeviceVideo } from './deviceReduction.js';
import { reportOf } from './reduction.js';
import { segmentFrames } from './segmentFrames.js';
import { selectTopK } from './selectTopK.js';

/** The numbers of FastVID for a video, checked. */
export type FastVidNumbers = {
  /** Tokens of each frame that stay as they are. */
  readonly salient: number;
  /** Anchors of a frame on the average. */
  readonly context: number;
  readonly segments: number;
  readonly threshold: number;
  readonly anchorStep: number;
  readonly beta: number;
};

/** A frame with anchors. */
type AnchorFrame = {
  readonly frame: number;
  readonly anchors: number;
  /** The frames whose tokens go to its anchors. */
  readonly from: number;
  readonly to: number;
};

/** Nearest neighbours that make a density. */
const neighbours = 4;

/** Work on one GPU: its operations follow each other, and what it allocates is freed by {@link free}. */
class Work {
  readonly #video: DeviceVideo;
  readonly #signal: AbortSignal | null | undefined;
  readonly #held: DeviceBuffer[] = [];

  constructor(video: DeviceVideo, signal: AbortSignal | null | undefined) {
    this.#video = video;
    this.#signal = signal;
  }

  allocate(type: DeviceTensorType, dims: readonly number[]): DeviceBuffer {
    return this.hold(allocateOn(this.#video.buffer.deviceIndex, type, dims));
  }

  hold(buffer: DeviceBuffer): DeviceBuffer {
    this.#held.push(buffer);
    return buffer;
  }

  async upload(data: Int32Array): Promise<DeviceBuffer> {
    const device = `cuda:${this.#video.buffer.deviceIndex}` as const;
    return this.hold(
      await DeviceBuffer.upload({ type: 'int32', data, dims: [data.length] }, { device, signal: this.#signal }),
    );
  }

  async download<T>(buffer: DeviceBuffer): Promise<T> {
    return (await buffer.download({ signal: this.#signal })).data as T;
  }

  async run(start: (native: NativeBinding) => NativeTask): Promise<void> {
    await runNative(start, checkSignal(this.#signal));
  }

  /** Copies rows of `rows`, `[any, channels]`, to `out`. */
  async gather(rows: DeviceBuffer, indices: Int32Array, out: DeviceBuffer): Promise<DeviceBuffer> {
    await gatherRows(rows, indices, out, this.#signal);
    return out;
  }

  /** Frees everything but `kept`. */
  free(kept?: DeviceBuffer): void {
    for (const buffer of this.#held) if (buffer !== kept) buffer.dispose();
  }
}

/** Frames of each segment, by `features` or by the frames' mean tokens. */
async function cut(video: DeviceVideo, features: Float32Tensor | undefined, numbers: FastVidNumbers, work: Work) {
  const { buffer, dims, frames, channels } = video;
  const means = work.allocate('float32', [frames, channels]);
  // Also where they are not needed: they show whether all tokens are finite.
  await work.run((native) => native.frameMeans({ tokens: buffer.native(), dims, out: means.native() }));
  const compared = features ?? float32Tensor(await work.download<Float32Array>(means), [frames, channels]);
  const { segments: minSegments, threshold } = numbers;
  return (await segmentFrames(compared, { threshold, minSegments })).lengths;
}

/** Which frames have anchors. `rest` are the tokens of a frame that are not salient. */
function anchorFrames(
  lengths: readonly number[],
  { context, anchorStep }: FastVidNumbers,
  rest: number,
): AnchorFrame[] {
  const found: AnchorFrame[] = [];
  let first = 0;
  for (const length of lengths) {
    const share = Math.floor((context * length) / Math.ceil(length / anchorStep));
    const last = first + length;
    for (let frame = first; share > 0 && frame < last; frame++) {
      if ((last - 1 - frame) % anchorStep !== 0) continue;
      // As in the authors' code: frames that keep just their own share merge for themselves.
      const range = share === context ? { from: frame, to: frame + 1 } : { from: first, to: last };
      found.push({ frame, anchors: Math.min(share, rest), ...range });
    }
    first = last;
  }
  return found;
}

/** How many frames' tokens go to no anchors. */
function withoutAnchors(frames: number, list: readonly AnchorFrame[]): number {
  const served = new Set<number>();
  for (const { from, to } of list) for (let frame = from; frame < to; frame++) served.add(frame);
  return frames - served.size;
}

/** The numbers from 0 to `count` that are not among `picked`, which ascend. */
function others(picked: Int32Array, count: number): Int32Array {
  const left = new Int32Array(count - picked.length);
  for (let i = 0, next = 0, to = 0; i < count; i++) {
    if (picked[next] === i) next++;
    else left[to++] = i;
  }
  return left;
}

/** The anchors of each frame that has some, as positions among its rest: the highest score first. */
async function findAnchors(video: DeviceVideo, rest: Int32Array, list: readonly AnchorFrame[], work: Work) {
  const { buffer, frames, channels } = video;
  const each = rest.length / frames;
  const rows = list.flatMap(({ frame }) => [...rest.subarray(frame * each, (frame + 1) * each)]);
  const tokens = await work.gather(buffer, Int32Array.from(rows), work.allocate(buffer.type, [rows.length, channels]));
  const clusters = Math.max(...list.map(({ anchors }) => anchors));
  const floats = work.allocate('float32', [2, rows.length]);
  const centres = work.allocate('int32', [list.length, clusters]);
  const inClusters = work.allocate('int32', [rows.length]);
  const densities = work.hold(floats.rows(0, 1));
  const distances = work.hold(floats.rows(1, 2));
  await work.run((native) =>
    native.densityPeaks({
      tokens: tokens.native(),
      dims: [list.length, each, channels],
      clusters,
      neighbours,
      outDensities: densities.native(),
      outDistances: distances.native(),
      outCentres: centres.native(),
      outClusters: inClusters.native(),
    }),
  );
  const found = await work.download<Int32Array>(centres);
  return list.map(({ anchors }, i) => found.subarray(i * clusters, i * clusters + anchors));
}

/** Blends tokens into the anchors of `list`, to `out`, `[all anchors, channels]`; resolves to the anchors' sizes. */
async function blend(
  { buffer, frames, channels }: DeviceVideo,
  rest: Int32Array,
  list: readonly AnchorFrame[],
  centres: readonly Int32Array[],
  beta: number,
  out: DeviceBuffer,
  work: Work,
): Promise<Float32Array> {
  const each = rest.length / frames;
  const tokens = await work.gather(buffer, rest, work.allocate(buffer.type, [rest.length, channels]));
  const anchors = await work.upload(
    Int32Array.from(
      list.flatMap(({ frame, from }, i) => [...centres[i]!].map((place) => (frame - from) * each + place)),
    ),
  );
  const sizes = work.allocate('float32', [anchors.dims[0]!]);
  const assignment = work.allocate('int32', [rest.length]);
  const cosines = work.allocate('float32', [rest.length]);
  let first = 0;
  for (const { anchors: count, from, to } of list) {
    const range = [first, first + count] as const;
    const taken = work.hold(tokens.rows(from * each, to * each));
    const views = [anchors, sizes, out].map((all) => work.hold(all.rows(...range))) as [
      DeviceBuffer,
      DeviceBuffer,
      DeviceBuffer,
    ];
    const scratch = [assignment, cosines].map((all) => work.hold(all.rows(0, (to - from) * each))) as [
      DeviceBuffer,
      DeviceBuffer,
    ];
    await work.run((native) =>
      native.assignToAnchors({
        tokens: taken.native(),
        dims: [1, (to - from) * each, channels],
        count,
        anchors: views[0].native(),
        beta,
        outAssignment: scratch[0].native(),
        outCosines: scratch[1].native(),
        outSizes: views[1].native(),
        outTokens: views[2].native(),
      }),
    );
    first += count;
  }
  // An anchor without tokens is itself.
  return (await work.download<Float32Array>(sizes)).map((size) => Math.max(size, 1));
}

/** FastVID, with the bits of the host's. `attention` is on the host. */
export async function fastVidOnDevice(
  video: DeviceVideo,
  attention: Float32Tensor,
  features: Float32Tensor | undefined,
  numbers: FastVidNumbers,
  signal: AbortSignal | null | undefined,
): Promise<ReducedDeviceVideo> {
  const { buffer, frames, patches, channels } = video;
  const work = new Work(video, signal);
  let tokens: DeviceBuffer | undefined;
  try {
    const lengths = await cut(video, features, numbers, work);
    const salient = await selectTopK(attention, numbers.salient);
    const rest = others(salient, frames * patches);
    const list = anchorFrames(lengths, numbers, patches - numbers.salient);
    const merging = list.reduce((sum, { anchors }) => sum + anchors, 0);
    const count = salient.length + merging;
    // What is kept: salient tokens, then anchors.
    const pool = work.allocate(buffer.type, [count, channels]);
    if (salient.length > 0) await work.gather(buffer, salient, work.hold(pool.rows(0, salient.length)));
    let kept = [...salient].map((token, row) => ({ token, row, size: 1 }));
    if (merging > 0) {
      const centres = await findAnchors(video, rest, list, work);
      const out = work.hold(pool.rows(salient.length, count));
      const sizes = await blend(video, rest, list, centres, numbers.beta, out, work);
      const each = rest.length / frames;
      const anchors = list.flatMap(({ frame }, i) => [...centres[i]!].map((place) => rest[frame * each + place]!));
      kept = [...kept, ...anchors.map((token, i) => ({ token, row: salient.length + i, size: sizes[i]! }))];
      kept.sort((a, b) => a.token - b.token);
    }
    const order = Int32Array.from(kept, ({ row }) => row);
    const ordered = await work.gather(pool, order, work.allocate(buffer.type, [count, channels]));
    const starts = Int32Array.from(lengths.flatMap((length) => Array.from({ length }, (_, i) => (i === 0 ? 1 : 0))));
    const report = reportOf('fastVid', video, {
      indices: Int32Array.from(kept, ({ token }) => token),
      sizes: Float32Array.from(kept, ({ size }) => size),
      dropped: withoutAnchors(frames, list) * (rest.length / frames),
      starts,
    });
    tokens = ordered;
    return { tokens, ...report };
  } finally {
    work.free(tokens);
  }
}
