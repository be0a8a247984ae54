// Scales rows to length 1, by a whole block.
#pragma once

#include "common.cuh"

namespace longvlm::cuda {

// Rows that a block normalises at once.
inline constexpr int kNormalizeRows = 32;

struct NormalizeScratch {
  double squares[kNormalizeRows][4];
  double scale[kNormalizeRows];
};

// All threads of a block must call this.
//   mean [count, mean_stride] float32, shared or global; rows [count, row_stride] float32; may be
//   the
//        same memory when the strides are; values from dims to row_stride become 0
// Range: count <= kNormalizeRows.   Error: none against the CPU's NormalizeRow: squares in four
// float64 sums, value k to sum k % 4, what is beyond the last multiple of 4 to sum 0.
__device__ inline void NormalizeRows(const float* mean, size_t mean_stride, float* rows,
                                     size_t row_stride, uint32_t count, uint32_t dims,
                                     NormalizeScratch& scratch) {
  const uint32_t even_dims = dims / 4 * 4;
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < count * 4; i += blockDim.x) {
    const float* row = mean + (i / 4) * mean_stride;
    const uint32_t lane = i % 4;
    double sum = 0;
    // The product of two float32 is exact in float64: fused or not, the sum rounds the same.
#pragma unroll 4
    for (uint32_t k = lane; k < even_dims; k += 4) {
      const double value = static_cast<double>(row[k]);
      sum = __fma_rn(value, value, sum);
    }
    if (lane == 0) {
      for (uint32_t k = even_dims; k < dims; ++k) {
        const double value = static_cast<double>(row[k]);
        sum = __fma_rn(value, value, sum);
      }
    }
    scratch.squares[i / 4][lane] = sum;
  }
  __syncthreads();
  if (threadIdx.x < count) {
    const double* squares = scratch.squares[threadIdx.x];
    const double square =
        __dadd_rn(__dadd_rn(squares[0], squares[1]), __dadd_rn(squares[2], squares[3]));
    scratch.scale[threadIdx.x] = square > 0 ? __ddiv_rn(1.0, __dsqrt_rn(square)) : 0.0;
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < count * row_stride; i += blockDim.x) {
    const uint32_t row = i / static_cast<uint32_t>(row_stride);
    const uint32_t k = i % static_cast<uint32_t>(row_stride);
    float value = 0;
    if (k < dims) {
      const double unit =
          __dmul_rn(static_cast<double>(mean[row * mean_stride + k]), scratch.scale[row]);
      value = __fadd_rn(__double2float_rn(unit), 0.0f);
    }
    rows[row * row_stride + k] = value;
  }
}

}  // namespace longvlm::cuda
