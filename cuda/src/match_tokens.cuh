// The exact similarities of a tile: a part of the product of A and B-transposed in float32, fused
// with the arg-max, so that the similarity matrix is never stored.
#pragma once

#include "levels.cuh"
#include "tuning.h"

namespace longvlm::cuda {

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

// screen_matches.cu. The keys of the rows of A by way of tensor cores. `*done` is false if the GPU
// has none that fit, or the rows are too long; then nothing was launched.
lv_status LaunchScreen(const MatchWork& work, size_t segments, int32_t multiprocessors,
                       cudaStream_t stream, bool* done);

inline constexpr int kGroups = 16;  // threads along each side of a tile
static_assert(kGroups * kGroups == kMatchThreads);

template <int kSums>
inline constexpr int kTile = kGroups * kSums;
// 4 columns of padding: 4 threads that store values of one row then use 2 banks instead of 1.
template <int kSums>
inline constexpr int kPaddedTile = kTile<kSums> + 4;

// kBuffers: 2 hides the loads of a block that is alone; 1 takes half the memory.
template <int kSumsA, int kSumsB, int kBuffers>
struct TileShared {
  alignas(16) float a[kBuffers][kMatchDepth][kPaddedTile<kSumsA>];
  alignas(16) float b[kBuffers][kMatchDepth][kPaddedTile<kSumsB>];
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

// 4 values of a thread's rows or columns.
__device__ inline void Take(const float* from, float* to) {
  const float4 values = *reinterpret_cast<const float4*>(from);
  to[0] = values.x, to[1] = values.y, to[2] = values.z, to[3] = values.w;
}

// Raises the keys of the rows of A from first_a on by the rows of B from first_b on, as many as the
// sides of the tile. All threads of a block must call this, after a barrier.
//   rows, keys  of the block's segment
template <int kSumsA, int kSumsB, int kBuffers>
__device__ void MatchTile(const MatchWork& work, const float* rows, MatchKey* keys,
                          uint32_t first_a, uint32_t first_b,
                          TileShared<kSumsA, kSumsB, kBuffers>& shared) {
  const uint32_t num_a = work.level.num_a();
  const uint32_t num_b = work.level.num_b();
  const uint32_t column = threadIdx.x % kGroups;
  const uint32_t row = threadIdx.x / kGroups;
  TileLoader<kSumsA> a(rows, work.row_stride, work.level.first_a(), first_a, num_a);
  TileLoader<kSumsB> b(rows, work.row_stride, work.level.first_b(), first_b, num_b);
  float sum[kSumsA][kSumsB] = {};
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
      float of_a[kSumsA];
      float of_b[kSumsB];
#pragma unroll
      for (int i = 0; i < kSumsA; i += 4) Take(&shared.a[current][k][PlaceOf(row, i)], of_a + i);
#pragma unroll
      for (int j = 0; j < kSumsB; j += 4) Take(&shared.b[current][k][PlaceOf(column, j)], of_b + j);
#pragma unroll
      for (int i = 0; i < kSumsA; ++i) {
#pragma unroll
        for (int j = 0; j < kSumsB; ++j) sum[i][j] = __fmaf_rn(of_a[i], of_b[j], sum[i][j]);
      }
    }
    if (more) {
      if constexpr (kBuffers == 1) __syncthreads();
      current = (current + 1) % kBuffers;
      a.Put(shared.a[current]);
      b.Put(shared.b[current]);
      __syncthreads();
    }
  }

  // Columns beyond the last repeat the last row of B at higher indices, so they never win.
#pragma unroll
  for (int i = 0; i < kSumsA; ++i) {
    const uint32_t row_of_a = first_a + PlaceOf(row, i);
    MatchKey best = 0;
    uint32_t candidates = 0;
#pragma unroll
    for (int j = 0; j < kSumsB; ++j) {
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

}  // namespace longvlm::cuda
