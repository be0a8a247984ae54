import { type Float32Tensor, float32Tensor, type Tensor } from '../base/tensor.js';
import { checkInteger, checkObject } from '../base/validate.js';
import { axesOf, checkFilledTensor, nativeDims, readTensor } from './arguments.js';
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

/**
 * Density peak clustering with the density of the k nearest neighbours (DPC-kNN). Distances are `|x - y| / sqrt(channels)`.
 * Up to 2,048 tokens of an entry the distances of all pairs are kept; above, they are computed anew for each use.
 *
 * @param tokens `[batch, tokens, channels]`, or `[tokens, channels]` for one entry; float32 or float16
 * @throws TypeError or RangeError when an argument is wrong
 * @throws LongVLMError `ERR_LONGVLM_NOT_FINITE` when the tokens hold NaN or infinity; the message says where
 */
export async function densityPeaks(tokens: Tensor, options: DensityPeaksOptions): Promise<DensityClusters> {
  const { clusters, neighbours = 5, signal } = checkObject('options', options);
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
