// The most similar tokens, and the order of A by similarity. Where screening on tensor cores is not
// possible, all similarities are computed in float32.
#include "match_tokens.cuh"

namespace longvlm::cuda {
namespace {

template <int kSums>
__global__ void __launch_bounds__(kMatchThreads, 2) match_tokens_kernel(MatchWork work) {
  using Shared = TileShared<kSums, kSums, 2>;
  LV_SHARED(Shared, shared);
  const uint32_t tiles_a = (work.level.num_a() + kTile<kSums> - 1) / kTile<kSums>;
  const uint32_t tiles_b = (work.level.num_b() + kTile<kSums> - 1) / kTile<kSums>;
  const uint32_t tile = blockIdx.x % (tiles_a * tiles_b);
  const size_t segment = blockIdx.x / (tiles_a * tiles_b);
  MatchTile<kSums, kSums, 2>(work, work.rows + segment * work.all_tokens * work.row_stride,
                             work.keys + segment * work.key_stride, tile / tiles_b * kTile<kSums>,
                             tile % tiles_b * kTile<kSums>, shared);
}

struct RankShared {
  uint64_t keys[kRankThreads];
};

// ranks[row] = how many rows of A come before it.
__global__ void __launch_bounds__(kRankThreads)
    rank_rows_kernel(const MatchKey* all_keys, uint32_t* all_ranks, uint32_t num_a,
                     uint32_t key_stride) {
  LV_SHARED(RankShared, shared);
  const uint32_t blocks = (num_a + kRankThreads - 1) / kRankThreads;
  const size_t segment = blockIdx.x / blocks;
  const MatchKey* const keys = all_keys + segment * key_stride;
  const uint32_t row = blockIdx.x % blocks * kRankThreads + threadIdx.x;
  const uint64_t own = row < num_a ? OrderKey(keys[row], row) : 0;
  uint32_t rank = 0;
  for (uint32_t first = 0; first < num_a; first += kRankThreads) {
    const uint32_t count = Smaller<uint32_t>(kRankThreads, num_a - first);
    __syncthreads();
    if (threadIdx.x < count) {
      shared.keys[threadIdx.x] = OrderKey(keys[first + threadIdx.x], first + threadIdx.x);
    }
    __syncthreads();
    for (uint32_t i = 0; i < count; ++i) rank += shared.keys[i] < own ? 1 : 0;
  }
  if (row < num_a) all_ranks[segment * key_stride + row] = rank;
}

size_t Tiles(const Level& level, size_t side) {
  return CeilDiv(level.num_a(), side) * CeilDiv(level.num_b(), side);
}

}  // namespace

lv_status LaunchMatch(const MetricState& state, const Level& level, MatchKey* keys,
                      int32_t multiprocessors, cudaStream_t stream) {
  const MatchWork work = {
      state.rows, state.all_tokens,       state.dims, state.row_stride, state.key_stride,
      level,      EqualAbove(state.dims), keys};
  bool done = false;
  LV_TRY(LaunchScreen(work, state.segments, multiprocessors, stream, &done));
  if (done) return LV_OK;
  const size_t large = state.segments * Tiles(level, kTile<kMatchSumsLarge>);
  if (large >= static_cast<size_t>(multiprocessors)) {
    return Launch(match_tokens_kernel<kMatchSumsLarge>, large, kMatchThreads, 0, stream, work);
  }
  return Launch(match_tokens_kernel<kMatchSumsSmall>,
                state.segments * Tiles(level, kTile<kMatchSumsSmall>), kMatchThreads, 0, stream,
                work);
}

lv_status LaunchRank(const MetricState& state, const Level& level, const MatchKey* keys,
                     cudaStream_t stream) {
  return Launch(rank_rows_kernel, state.segments * CeilDiv(level.num_a(), kRankThreads),
                kRankThreads, 0, stream, keys, state.ranks, level.num_a(), state.key_stride);
}

}  // namespace longvlm::cuda
