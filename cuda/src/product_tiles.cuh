// Tiles of the product of two sets of rows: for each pair one chain of fused multiply-adds in
// float32 over ascending dims, from 0, as the CPU's product kernels compute it.
#pragma once

#include "common.cuh"
#include "tuning.h"

namespace longvlm::cuda {

// Threads along each side of a tile; each has kSums x kSums products.
inline constexpr int kTileGroups = 16;
inline constexpr int kTileThreads = kTileGroups * kTileGroups;

template <int kSums>
inline constexpr int kTileSide = kTileGroups * kSums;

// Four values of padding: threads that store values of one row then use other banks.
template <int kSums>
using TileValues = float[kProductDepth][kTileSide<kSums> + 4];

template <int kSums>
struct ProductShared {
  alignas(16) TileValues<kSums> a[2];
  alignas(16) TileValues<kSums> b[2];
};

// The position in a tile of a thread's sum `i`: groups of 4, each a quarter or half of the side on.
__device__ inline uint32_t TilePlace(uint32_t thread, int i) {
  return static_cast<uint32_t>(i / 4 * kTileGroups * 4 + i % 4) + thread * 4;
}

// One side of a tile: kProductDepth values of each row, to registers first, then to shared memory.
template <int kSums>
class TileRows {
 public:
  // Rows beyond the last are the last one.
  __device__ TileRows(const float* rows, uint32_t first, uint32_t count, uint32_t row_stride)
      : rows_(rows), row_stride_(row_stride) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      from_[i] = Smaller(first + Row(i), count - 1) * (row_stride / 4);
    }
  }

  __device__ void Fetch(uint32_t depth) {
    const uint32_t k = depth + Quad() * 4;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      values_[i] = k < row_stride_ ? *(reinterpret_cast<const float4*>(rows_) + from_[i] + k / 4)
                                   : make_float4(0, 0, 0, 0);
    }
  }

  __device__ void Put(TileValues<kSums>& to) const {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const uint32_t row = Row(i);
      to[Quad() * 4][row] = values_[i].x;
      to[Quad() * 4 + 1][row] = values_[i].y;
      to[Quad() * 4 + 2][row] = values_[i].z;
      to[Quad() * 4 + 3][row] = values_[i].w;
    }
  }

 private:
  static constexpr int kQuads = kProductDepth / 4;
  static constexpr int kLoads = kTileSide<kSums> * kQuads / kTileThreads;

  static __device__ uint32_t Quad() { return threadIdx.x % kQuads; }
  static __device__ uint32_t Row(int i) {
    return threadIdx.x / kQuads + static_cast<uint32_t>(i) * (kTileThreads / kQuads);
  }

  const float* rows_;
  uint32_t row_stride_;
  // 32-bit offsets: pointers would take registers that the sums need.
  uint32_t from_[kLoads];
  float4 values_[kLoads];
};

// Checks that offsets in the rows of one side fit into 32 bits.
inline lv_status CheckTileRows(uint64_t rows, uint64_t row_stride) {
  LV_EXPECT(rows <= UINT32_MAX / (row_stride / 4), "The shape [%llu, %llu] is too large",
            static_cast<unsigned long long>(rows), static_cast<unsigned long long>(row_stride));
  return LV_OK;
}

template <int kSums>
__device__ inline void ReadTile(const TileValues<kSums>& tile, int k, uint32_t thread,
                                float (&out)[kSums]) {
#pragma unroll
  for (int i = 0; i < kSums; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(&tile[k][TilePlace(thread, i)]);
    out[i] = four.x, out[i + 1] = four.y, out[i + 2] = four.z, out[i + 3] = four.w;
  }
}

// The products of the rows from first_a on with those from first_b on: sum[i][j] is that of rows
// first_a + TilePlace(threadIdx.x / 16, i) and first_b + TilePlace(threadIdx.x % 16, j); of rows
// beyond the last it is that of the last. All kTileThreads threads of a block must call this.
template <int kSums>
__device__ inline void ProductTile(const float* a, uint32_t num_a, uint32_t first_a, const float* b,
                                   uint32_t num_b, uint32_t first_b, uint32_t row_stride,
                                   ProductShared<kSums>& shared, float (&sum)[kSums][kSums]) {
  TileRows<kSums> rows_a(a, first_a, num_a, row_stride);
  TileRows<kSums> rows_b(b, first_b, num_b, row_stride);
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
#pragma unroll
    for (int j = 0; j < kSums; ++j) sum[i][j] = 0;
  }
  rows_a.Fetch(0);
  rows_b.Fetch(0);
  int current = 0;
  for (uint32_t depth = 0; depth < row_stride; depth += kProductDepth) {
    rows_a.Put(shared.a[current]);
    rows_b.Put(shared.b[current]);
    __syncthreads();
    if (depth + kProductDepth < row_stride) {
      rows_a.Fetch(depth + kProductDepth);
      rows_b.Fetch(depth + kProductDepth);
    }
#pragma unroll
    for (int k = 0; k < kProductDepth; ++k) {
      float of_a[kSums], of_b[kSums];
      ReadTile<kSums>(shared.a[current], k, threadIdx.x / kTileGroups, of_a);
      ReadTile<kSums>(shared.b[current], k, threadIdx.x % kTileGroups, of_b);
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
#pragma unroll
        for (int j = 0; j < kSums; ++j) sum[i][j] = __fmaf_rn(of_a[i], of_b[j], sum[i][j]);
      }
    }
    // The other half is written next; who still reads it has not passed the barrier above.
    current = 1 - current;
  }
}

}  // namespace longvlm::cuda
