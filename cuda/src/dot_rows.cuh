// Products of rows in float64, with the additions in the order of the CPU's DotProduct.
#pragma once

#include "common.cuh"

namespace longvlm::cuda {

// Neighbouring threads that make a product, one for each of its sums.
inline constexpr uint32_t kDotLanes = 8;

struct DotSums {
  double aa, ab, bb;
};

// ((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7)), in all eight threads.
__device__ inline double AddLanes(double sum) {
  sum = __dadd_rn(sum, __shfl_xor_sync(kAllLanes, sum, 4));
  sum = __dadd_rn(sum, __shfl_xor_sync(kAllLanes, sum, 1));
  return __dadd_rn(sum, __shfl_xor_sync(kAllLanes, sum, 2));
}

__device__ inline void AddProducts(float of_a, float of_b, DotSums& sums) {
  const double a = static_cast<double>(of_a);
  const double b = static_cast<double>(of_b);
  // The product of two float32 is exact in float64: fused or not, the sum rounds the same.
  sums.aa = __fma_rn(a, a, sums.aa);
  sums.ab = __fma_rn(a, b, sums.ab);
  sums.bb = __fma_rn(b, b, sums.bb);
}

// The products of two rows with themselves and each other. All threads of a warp must call this,
// kDotLanes of them with the same rows. Error: none against the CPU.
template <typename A, typename B>
__device__ inline DotSums DotRows(const A* a, const B* b, uint32_t dims) {
  const uint32_t lane = threadIdx.x % kDotLanes;
  const uint32_t even_dims = dims / kDotLanes * kDotLanes;
  DotSums sums = {};
#pragma unroll 8
  for (uint32_t k = lane; k < even_dims; k += kDotLanes) {
    AddProducts(ToFloat(a[k]), ToFloat(b[k]), sums);
  }
  if (lane == 0) {
    for (uint32_t k = even_dims; k < dims; ++k) AddProducts(ToFloat(a[k]), ToFloat(b[k]), sums);
  }
  return {AddLanes(sums.aa), AddLanes(sums.ab), AddLanes(sums.bb)};
}

__device__ inline bool IsFinite(double value) { return value - value == 0; }

// Reports the first value of a row that is not finite, which is number `first_index` plus its
// place.
template <typename T>
__device__ inline void ReportRow(const T* row, size_t width, size_t first_index,
                                 lv_report* report) {
  for (size_t k = 0; k < width; ++k) {
    if (IsFinite(ToFloat(row[k]))) continue;
    ReportLowest(&report->not_finite, first_index + k);
    return;
  }
}

}  // namespace longvlm::cuda
