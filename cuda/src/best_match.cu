// The most similar row of B for each row of A: the product folded into its arg-max.
#include "product_tiles.cuh"
#include "reducers.cuh"

namespace longvlm::cuda {
namespace {

constexpr int kFinishThreads = 256;

template <int kSums>
__global__ void __launch_bounds__(kTileThreads, 2) best_match_kernel(BestMatchWork work) {
  LV_SHARED(ProductShared<kSums>, shared);
  const uint32_t side = kTileSide<kSums>;
  const uint32_t tiles_a = (work.num_a + side - 1) / side;
  const uint32_t tiles_b = (work.num_b + side - 1) / side;
  const uint32_t tile = blockIdx.x % (tiles_a * tiles_b);
  const size_t job = blockIdx.x / (tiles_a * tiles_b);
  const uint32_t first_a = tile / tiles_b * side;
  const uint32_t first_b = tile % tiles_b * side;
  float sum[kSums][kSums];
  ProductTile<kSums>(work.a + job * work.a_step * work.row_stride, work.num_a, first_a,
                     work.b + job * work.b_step * work.row_stride, work.num_b, first_b,
                     work.row_stride, shared, sum);
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    MatchKey best = 0;
#pragma unroll
    for (int j = 0; j < kSums; ++j) {
      // Rows beyond the last repeat it at higher numbers, so they never win.
      const uint32_t row_of_b = first_b + TilePlace(threadIdx.x % kTileGroups, j);
      const MatchKey key = ToMatchKey(RisingKey(sum[i][j]), row_of_b);
      best = best < key ? key : best;
    }
    // The 16 threads of a row are neighbours in a warp.
#pragma unroll
    for (int distance = kTileGroups / 2; distance > 0; distance /= 2) {
      const MatchKey other = __shfl_xor_sync(kAllLanes, best, distance);
      best = best < other ? other : best;
    }
    const uint32_t row_of_a = first_a + TilePlace(threadIdx.x / kTileGroups, i);
    if (threadIdx.x % kTileGroups == 0 && row_of_a < work.num_a) {
      atomicMax(&work.keys[job * work.num_a + row_of_a], best);
    }
  }
}

__global__ void __launch_bounds__(kFinishThreads) best_of_keys_kernel(BestMatchWork work) {
  const size_t i = static_cast<size_t>(blockIdx.x) * kFinishThreads + threadIdx.x;
  if (i >= work.jobs * work.num_a) return;
  work.best[i] = FromRisingKey(SimilarityOf(work.keys[i]));
  work.match[i] = static_cast<int32_t>(PartnerOf(work.keys[i]));
}

template <int kSums>
size_t Blocks(const BestMatchWork& work) {
  return work.jobs * CeilDiv(work.num_a, kTileSide<kSums>) * CeilDiv(work.num_b, kTileSide<kSums>);
}

}  // namespace

lv_status LaunchBestMatch(const BestMatchWork& work, int32_t multiprocessors, cudaStream_t stream) {
  const size_t rows = work.jobs * work.num_a;
  LV_TRY(CheckTileRows(work.num_a < work.num_b ? work.num_b : work.num_a, work.row_stride));
  LV_CUDA(cudaMemsetAsync(work.keys, 0, rows * sizeof(MatchKey), stream));
  const size_t large = Blocks<kProductSumsLarge>(work);
  if (large >= static_cast<size_t>(multiprocessors)) {
    LV_TRY(Launch(best_match_kernel<kProductSumsLarge>, large, kTileThreads, 0, stream, work));
  } else {
    LV_TRY(Launch(best_match_kernel<kProductSumsSmall>, Blocks<kProductSumsSmall>(work),
                  kTileThreads, 0, stream, work));
  }
  return Launch(best_of_keys_kernel, CeilDiv(rows, kFinishThreads), kFinishThreads, 0, stream,
                work);
}

}  // namespace longvlm::cuda
