import { type Float32Tensor, float32Tensor, type TensorInput } from '../base/tensor.js';
import { checkInteger, checkObject } from '../base/validate.js';
import { axesOf, checkFilledTensor, nativeDims, readTensor } from './arguments.js';
import { DeviceBuffer, type DeviceTensorType } from './deviceBuffer.js';
import { checkProductRows } from './deviceReduction.js';
import { devicePlace, run } from './place.js';
import { type ReducerCallOptions, runOnHost } from './reduction.js';

export type DensityPeaksOptions = ReducerCallOptions & {
  /** Clusters of each batch entry, at least 1, at most its tokens. */
  readonly clusters: number;
  /** The nearest tokens, itself among them, that make a token's density; at most all are used. Defaults to `5`. */
  readonly neighbours?: number;
};

/** Clusters, and what they are found by; entry after entry. */
export type DensityClusters = {
  /** `[batch, tokens]`: exp(-mean of squares of the nearest distances). */
  readonly densities: Float32Tensor;
  /** `[batch, tokens]`: the distance to the nearest denser token, for the densest the largest distance of the entry. */
  readonly distances: Float32Tensor;
  /** `batch × clusters` token numbers: the highest density times distance, the highest first; of equals the lower index. */
  readonly centres: Int32Array;
  /** `batch × tokens` cluster numbers below `clusters`: of the nearest centre, of equally near ones the first. */
  readonly clusters: Int32Array;
};

/** The same on a GPU, of the same axes as the tokens. Each is yours to dispose. */
export type DeviceDensityClusters = {
  /** `[batch, tokens]` float32. */
  readonly densities: DeviceBuffer;
  /** `[batch, tokens]` float32. */
  readonly distances: DeviceBuffer;
  /** `[batch, clusters]` int32. */
  readonly centres: DeviceBuffer;
  /** `[batch, tokens]` int32. */
  readonly clusters: DeviceBuffer;
};

/**
 * Density peak clustering with the density of the k nearest neighbours (DPC-kNN). Distances are `|x - y| / sqrt(channels)`.
 * Up to 2,048 tokens of an entry the distances of all pairs are kept; above, they are computed anew for each use.
 *
 * @param tokens `[batch, tokens, channels]`, or `[tokens, channels]` for one entry; float32 or float16
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; the message says where
 */
export async function densityPeaks(tokens: TensorInput, options: DensityPeaksOptions): Promise<DensityClusters>;
/** The same on the GPU that holds the tokens, at most 16,384 of an entry; the results stay on the GPU. */
export async function densityPeaks(tokens: DeviceBuffer, options: DensityPeaksOptions): Promise<DeviceDensityClusters>;
export async function densityPeaks(
  tokens: TensorInput | DeviceBuffer,
  options: DensityPeaksOptions,
): Promise<DensityClusters | DeviceDensityClusters> {
  const { clusters, neighbours = 5, signal } = checkObject('options', options);
  if (tokens instanceof DeviceBuffer) return await clusterOnDevice(tokens, clusters, neighbours, signal);
  const read = readTensor(tokens);
  const tensor = checkFilledTensor('tokens', read, axesOf(read, ['batch', 'tokens', 'channels']));
  const dims = nativeDims(tensor.dims);
  const [batch, count] = dims;
  const args = {
    tokens: tensor.data,
    dims,
    clusters: checkInteger('clusters', clusters, 1, count),
    neighbours: checkInteger('neighbours', neighbours, 1),
    outDensities: new Float32Array(batch * count),
    outDistances: new Float32Array(batch * count),
    outCentres: new Int32Array(batch * clusters),
    outClusters: new Int32Array(batch * count),
  };
  await runOnHost(signal, args, (native, own) => native.densityPeaks(own));
  const leading = tensor.dims.slice(0, -1);
  return {
    densities: float32Tensor(args.outDensities, leading),
    distances: float32Tensor(args.outDistances, leading),
    centres: args.outCentres,
    clusters: args.outClusters,
  };
}

async function clusterOnDevice(
  tokens: DeviceBuffer,
  clusters: number,
  neighbours: number,
  signal: AbortSignal | null | undefined,
): Promise<DeviceDensityClusters> {
  devicePlace(tokens.deviceIndex).checkFloats('tokens', tokens, axesOf(tokens, ['batch', 'tokens', 'channels']));
  const dims = nativeDims(tokens.dims);
  const count = checkProductRows(tokens, dims);
  checkInteger('clusters', clusters, 1, count);
  checkInteger('neighbours', neighbours, 1);
  const leading = tokens.dims.slice(0, -1);
  return await run(
    tokens,
    signal,
    (place) => {
      const allocate = (type: DeviceTensorType, sizes: readonly number[]) =>
        place.allocate(type, sizes) as DeviceBuffer;
      const result = {
        densities: allocate('float32', leading),
        distances: allocate('float32', leading),
        centres: allocate('int32', [...leading.slice(0, -1), clusters]),
        clusters: allocate('int32', leading),
      };
      const args = {
        tokens: tokens.native(),
        dims,
        clusters,
        neighbours,
        outDensities: result.densities.native(),
        outDistances: result.distances.native(),
        outCentres: result.centres.native(),
        outClusters: result.clusters.native(),
      };
      return { args, result };
    },
    (native, args) => native.densityPeaks(args),
  );
}
