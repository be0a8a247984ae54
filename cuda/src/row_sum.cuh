// Float64 sums of values of a row, in float32 where that is exact.
#pragma once

#include "common.cuh"

namespace longvlm::cuda {

// V sums of one value each of many rows. Converting to float64 takes 8 times as long as adding in
// float32, and a sum of float16 is exact in both: so it is the same in any order, and in two parts.
template <typename T, int V>
class RowSum {
 public:
  __device__ void Add(const Values<T, V>& values) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      sum_[v] = __dadd_rn(sum_[v], static_cast<double>(ToFloat(values.value[v])));
    }
  }
  __device__ void AddTimes(double weight, const Values<T, V>& values) {
    // The product of two float32 is exact in float64.
#pragma unroll
    for (int v = 0; v < V; ++v) {
      sum_[v] = __fma_rn(weight, static_cast<double>(ToFloat(values.value[v])), sum_[v]);
    }
  }
  // To be called after at most kMostAdded calls of Add.
  __device__ void Carry() {}
  __device__ double Get(int v) const { return sum_[v]; }

 private:
  double sum_[V] = {};
};

// Calls of Add between two of Carry. Multiples of 2^-4 up to 16 * 65504 < 2^20 have 24 bits, what
// is left of each value is a multiple of 2^-24 up to 2^-5.
inline constexpr uint32_t kMostAdded = 16;

template <int V>
class RowSum<Half, V> {
 public:
  __device__ void Add(const Values<Half, V>& values) {
    // Adding rounds to a multiple of 2^-4.
    constexpr float kRounds = 0x1.8p19f;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const float value = ToFloat(values.value[v]);
      const float coarse = __fadd_rn(__fadd_rn(value, kRounds), -kRounds);
      coarse_[v] = __fadd_rn(coarse_[v], coarse);
      fine_[v] = __fadd_rn(fine_[v], __fadd_rn(value, -coarse));
    }
  }
  __device__ void AddTimes(double weight, const Values<Half, V>& values) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      sum_[v] = __fma_rn(weight, static_cast<double>(ToFloat(values.value[v])), sum_[v]);
    }
  }
  __device__ void Carry() {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      // Both sums are multiples of 2^-24 below 2^29, as is what they are added to.
      const double added =
          __dadd_rn(static_cast<double>(coarse_[v]), static_cast<double>(fine_[v]));
      sum_[v] = __dadd_rn(sum_[v], added);
      coarse_[v] = 0;
      fine_[v] = 0;
    }
  }
  __device__ double Get(int v) const { return sum_[v]; }

 private:
  float coarse_[V] = {};
  float fine_[V] = {};
  double sum_[V] = {};
};

}  // namespace longvlm::cuda
