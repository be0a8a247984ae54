// Sums of rows in float64, each column in one chain over the rows in their order, as the CPU adds.
#pragma once

#include "common.cuh"
#include "tuning.h"

namespace longvlm::cuda {

// Adds `count` rows to the sums of V columns: `column` is the first of these in row 0, row_at(i)
// the number of the i-th row.
template <typename T, int V, typename RowAt>
__device__ inline void AddRows(const T* column, size_t width, uint32_t count, const RowAt& row_at,
                               double (&sum)[V]) {
  for (uint32_t m = 0; m < count; m += kAnchorLoads) {
    Values<T, V> loaded[kAnchorLoads] = {};
#pragma unroll
    for (uint32_t i = 0; i < kAnchorLoads; ++i) {
      if (m + i < count) {
        loaded[i] = Load<T, V>(column + static_cast<size_t>(row_at(m + i)) * width);
      }
    }
#pragma unroll
    for (uint32_t i = 0; i < kAnchorLoads; ++i) {
#pragma unroll
      for (int v = 0; v < V; ++v) {
        // Rows beyond the last count as 0.
        sum[v] = __dadd_rn(sum[v], static_cast<double>(ToFloat(loaded[i].value[v])));
      }
    }
  }
}

// The quotients of sums, rounded once to float32 and then to T.
template <typename T, int V>
__device__ inline Values<T, V> Quotients(const double (&sum)[V], double divisor) {
  Values<T, V> values;
#pragma unroll
  for (int v = 0; v < V; ++v) {
    values.value[v] = FromFloat<T>(__double2float_rn(__ddiv_rn(sum[v], divisor)));
  }
  return values;
}

}  // namespace longvlm::cuda
