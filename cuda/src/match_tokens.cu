// The most similar tokens: the product of A and B-transposed in float32, fused with the arg-max, so
// that the similarity matrix is never stored; and the order of A by similarity.
#include "levels.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr int kGroups = 16;  // threads along each side of a tile
static_assert(kGroups * kGroups == kMatchThreads);

template <int kSums>
constexpr int kTile = kGroups * kSums;
// 4 columns of padding: 4 threads that store values of one row then use 2 banks instead of 1.
template <int kSums>
constexpr int kPaddedTile = kTile<kSums> + 4;

template <int kSums>
struct MatchShared {
  alignas(16) float a[2][kMatchDepth][kPaddedTile<kSums>];
  alignas(16) float b[2][kMatchDepth][kPaddedTile<kSums>];
};

// A tile's rows of A or B: kMatchDepth values each, first to registers, then transposed to shared.
template <int kSums>
class TileLoader {
 public:
  __device__ TileLoader(const float* rows, uint32_t row_stride, uint32_t first_token,
                        uint32_t first_row, uint32_t num_rows)
      : rows_(rows), row_stride_(row_stride) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      // Results of rows beyond the last are ignored, so any row can be loaded.
      const uint32_t row = Smaller(first_row + Row(i), num_rows - 1);
      from_[i] = (first_token + 2 * row) * (row_stride / 4);
    }
  }

  __device__ void Fetch(uint32_t depth) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const uint32_t k = depth + Quad() * 4;
      values_[i] = k < row_stride_ ? *(reinterpret_cast<const float4*>(rows_) + from_[i] + k / 4)
                                   : make_float4(0, 0, 0, 0);
    }
  }

  __device__ void Put(float (&tile)[kMatchDepth][kPaddedTile<kSums>]) const {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      tile[Quad() * 4 + 0][Row(i)] = values_[i].x;
      tile[Quad() * 4 + 1][Row(i)] = values_[i].y;
      tile[Quad() * 4 + 2][Row(i)] = values_[i].z;
      tile[Quad() * 4 + 3][Row(i)] = values_[i].w;
    }
  }

 private:
  static constexpr int kQuads = kMatchDepth / 4;
  static constexpr int kLoads = kTile<kSums> * kQuads / kMatchThreads;

  static __device__ uint32_t Quad() { return threadIdx.x % kQuads; }
  static __device__ uint32_t Row(int i) {
    return threadIdx.x / kQuads + static_cast<uint32_t>(i) * (kMatchThreads / kQuads);
  }

  const float* rows_;
  uint32_t row_stride_;
  // 32-bit offsets: pointers would take registers that the sums need.
  uint32_t from_[kLoads];
  float4 values_[kLoads];
};

// The rows or columns of a thread's sums: groups of 4, each group 64 from the one before.
__device__ inline uint32_t PlaceOf(uint32_t thread, int i) {
  return static_cast<uint32_t>(i / 4 * kGroups * 4 + i % 4) + thread * 4;
}

__device__ inline bool EqualRows(const float* a, const float* b, uint32_t dims) {
  for (uint32_t k = 0; k < dims; ++k) {
    if (a[k] != b[k]) return false;
  }
  return true;
}

struct MatchWork {
  const float* rows;
  uint32_t all_tokens;
  uint32_t dims;
  uint32_t row_stride;
  uint32_t key_stride;
  Level level;
  float equal_above;
  MatchKey* keys;
};

template <int kSums>
__global__ void __launch_bounds__(kMatchThreads, 2) match_tokens_kernel(MatchWork work) {
  LV_SHARED(MatchShared<kSums>, shared);
  const uint32_t num_a = work.level.num_a();
  const uint32_t num_b = work.level.num_b();
  const uint32_t tiles_a = (num_a + kTile<kSums> - 1) / kTile<kSums>;
  const uint32_t tiles_b = (num_b + kTile<kSums> - 1) / kTile<kSums>;
  const uint32_t tile = blockIdx.x % (tiles_a * tiles_b);
  const size_t segment = blockIdx.x / (tiles_a * tiles_b);
  const uint32_t first_a = tile / tiles_b * kTile<kSums>;
  const uint32_t first_b = tile % tiles_b * kTile<kSums>;
  const float* const rows = work.rows + segment * work.all_tokens * work.row_stride;
  const uint32_t column = threadIdx.x % kGroups;
  const uint32_t row = threadIdx.x / kGroups;

  TileLoader<kSums> a(rows, work.row_stride, work.level.first_a(), first_a, num_a);
  TileLoader<kSums> b(rows, work.row_stride, work.level.first_b(), first_b, num_b);
  float sum[kSums][kSums] = {};
  a.Fetch(0);
  b.Fetch(0);
  a.Put(shared.a[0]);
  b.Put(shared.b[0]);
  __syncthreads();
  int current = 0;
  for (uint32_t depth = 0; depth < work.row_stride; depth += kMatchDepth) {
    const bool more = depth + kMatchDepth < work.row_stride;
    if (more) {
      a.Fetch(depth + kMatchDepth);
      b.Fetch(depth + kMatchDepth);
    }
#pragma unroll
    for (int k = 0; k < kMatchDepth; ++k) {
      float of_a[kSums];
      float of_b[kSums];
#pragma unroll
      for (int i = 0; i < kSums; i += 4) {
        const float4 from_a =
            *reinterpret_cast<const float4*>(&shared.a[current][k][PlaceOf(row, i)]);
        const float4 from_b =
            *reinterpret_cast<const float4*>(&shared.b[current][k][PlaceOf(column, i)]);
        of_a[i] = from_a.x, of_a[i + 1] = from_a.y, of_a[i + 2] = from_a.z, of_a[i + 3] = from_a.w;
        of_b[i] = from_b.x, of_b[i + 1] = from_b.y, of_b[i + 2] = from_b.z, of_b[i + 3] = from_b.w;
      }
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
#pragma unroll
        for (int j = 0; j < kSums; ++j) sum[i][j] = __fmaf_rn(of_a[i], of_b[j], sum[i][j]);
      }
    }
    if (more) {
      a.Put(shared.a[1 - current]);
      b.Put(shared.b[1 - current]);
      __syncthreads();
      current = 1 - current;
    }
  }

  // Columns beyond the last repeat the last row of B at higher indices, so they never win.
  MatchKey* const keys = work.keys + segment * work.key_stride;
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    const uint32_t row_of_a = first_a + PlaceOf(row, i);
    MatchKey best = 0;
    uint32_t candidates = 0;
#pragma unroll
    for (int j = 0; j < kSums; ++j) {
      const uint32_t row_of_b = first_b + PlaceOf(column, j);
      const MatchKey key = ToMatchKey(RisingKey(sum[i][j]), row_of_b);
      best = best < key ? key : best;
      if (sum[i][j] > work.equal_above) candidates |= 1u << j;
    }
    if (row_of_a >= num_a) candidates = 0;
    for (; candidates != 0; candidates &= candidates - 1) {
      const int j = __ffs(static_cast<int>(candidates)) - 1;
      const uint32_t row_of_b = first_b + PlaceOf(column, j);
      // In a still picture most blocks find that a lower equal row is already known.
      const MatchKey equal = ToMatchKey(kEqualRows, row_of_b);
      if (row_of_b >= num_b || *static_cast<volatile MatchKey*>(&keys[row_of_a]) >= equal) break;
      const uint32_t token_a = work.level.first_a() + 2 * row_of_a;
      const uint32_t token_b = work.level.first_b() + 2 * row_of_b;
      if (EqualRows(rows + static_cast<size_t>(token_a) * work.row_stride,
                    rows + static_cast<size_t>(token_b) * work.row_stride, work.dims)) {
        best = equal;
        break;
      }
    }
    // The 16 threads of a row are neighbours in a warp.
#pragma unroll
    for (int distance = kGroups / 2; distance > 0; distance /= 2) {
      const MatchKey other = __shfl_xor_sync(kAllLanes, best, distance);
      best = best < other ? other : best;
    }
    if (column == 0 && row_of_a < num_a) atomicMax(&keys[row_of_a], best);
  }
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
