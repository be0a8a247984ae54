// Scales rows to length 1, by a whole block.
#pragma once

#include "common.cuh"

namespace longvlm::cuda {

// Four lanes sum a row's squares, so that a warp can have so many rows at once.
inline constexpr uint32_t kMostRowsOfWarp = kWarp / 4;

// All threads of a block must call this; it waits for all before it reads `mean`, and not at the
// end.
//   mean [count, mean_stride] float32, shared or global; rows [count, row_stride] float32; may be
//   the
//        same memory when the strides are; values from dims to row_stride become 0
// Error: none against the CPU's NormalizeRow: squares in four float64 sums, value k to sum k % 4,
// what is beyond the last multiple of 4 to sum 0.
__device__ inline void NormalizeRows(const float* mean, uint32_t mean_stride, float* rows,
                                     uint32_t row_stride, uint32_t count, uint32_t dims) {
  const uint32_t lane = threadIdx.x % kWarp;
  const uint32_t part = lane % 4;
  const uint32_t even_dims = dims / 4 * 4;
  const uint32_t warps = blockDim.x / kWarp;
  const uint32_t rows_of_warp = Smaller((count + warps - 1) / warps, kMostRowsOfWarp);
  __syncthreads();
  for (uint32_t first = threadIdx.x / kWarp * rows_of_warp; first < count;
       first += warps * rows_of_warp) {
    const uint32_t some = Smaller(rows_of_warp, count - first);
    const uint32_t own = first + lane / 4;
    double square = 0;
    if (lane / 4 < some) {
      const float* const row = mean + static_cast<size_t>(own) * mean_stride;
      // The product of two float32 is exact in float64: fused or not, the sum rounds the same.
#pragma unroll 8
      for (uint32_t k = part; k < even_dims; k += 4) {
        const double value = static_cast<double>(row[k]);
        square = __fma_rn(value, value, square);
      }
      if (part == 0) {
        for (uint32_t k = even_dims; k < dims; ++k) {
          const double value = static_cast<double>(row[k]);
          square = __fma_rn(value, value, square);
        }
      }
    }
    // (0 + 1) + (2 + 3), whichever lane adds.
    square = __dadd_rn(square, __shfl_xor_sync(kAllLanes, square, 1));
    square = __dadd_rn(square, __shfl_xor_sync(kAllLanes, square, 2));
    const double own_scale = square > 0 ? __ddiv_rn(1.0, __dsqrt_rn(square)) : 0.0;
#pragma unroll 4
    for (uint32_t i = 0; i < some; ++i) {
      const double scale = __shfl_sync(kAllLanes, own_scale, static_cast<int>(4 * i));
      const float* const from = mean + static_cast<size_t>(first + i) * mean_stride;
      float* const to = rows + static_cast<size_t>(first + i) * row_stride;
      for (uint32_t k = lane; k < row_stride; k += kWarp) {
        float value = 0;
        if (k < dims) {
          value =
              __fadd_rn(__double2float_rn(__dmul_rn(static_cast<double>(from[k]), scale)), 0.0f);
        }
        to[k] = value;
      }
    }
  }
}

}  // namespace longvlm::cuda
