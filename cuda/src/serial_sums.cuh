// Sums in one chain, by a whole block.
#pragma once

#include "common.cuh"
#include "tuning.h"

namespace longvlm::cuda {

template <int kSums>
struct SerialShared {
  double products[kSums][kTurnThreads];
  double sum[kSums];
};

// kSums sums over k of product(k, sum), in one chain each over ascending k: thousands of values
// that only one thread may add. All others multiply.
template <int kSums, typename Product>
__device__ void SerialSums(uint32_t width, SerialShared<kSums>& shared, Product product) {
  const uint32_t warp = threadIdx.x / kWarp;
  const bool adds = threadIdx.x % kWarp == 0 && warp < kSums;
  double sum = 0;
  for (uint32_t first = 0; first < width; first += kTurnThreads) {
    const uint32_t k = first + threadIdx.x;
    __syncthreads();
    for (int i = 0; i < kSums; ++i) shared.products[i][threadIdx.x] = k < width ? product(k, i) : 0;
    __syncthreads();
    if (!adds) continue;
#pragma unroll 16
    for (uint32_t i = 0; i < kTurnThreads; ++i) sum = __dadd_rn(sum, shared.products[warp][i]);
  }
  if (adds) shared.sum[warp] = sum;
  __syncthreads();
}

}  // namespace longvlm::cuda
