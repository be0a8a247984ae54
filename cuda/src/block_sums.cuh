// Counting by a whole block.
#pragma once

#include "common.cuh"

namespace longvlm::cuda {

template <int kThreads>
struct CountShared {
  uint32_t of_warp[kThreads / kWarp];
};

// How many threads before this one have `mark`, in the order of their numbers; `total` of all. All
// threads of a block of kThreads must call this.
template <int kThreads>
__device__ inline uint32_t CountBefore(bool mark, CountShared<kThreads>& shared, uint32_t* total) {
  const uint32_t lane = threadIdx.x % kWarp;
  const uint32_t warp = threadIdx.x / kWarp;
  const unsigned marks = __ballot_sync(kAllLanes, mark);
  __syncthreads();
  if (lane == 0) shared.of_warp[warp] = static_cast<uint32_t>(__popc(marks));
  __syncthreads();
  uint32_t before = static_cast<uint32_t>(__popc(marks & ((1u << lane) - 1)));
  uint32_t sum = 0;
#pragma unroll
  for (uint32_t i = 0; i < kThreads / kWarp; ++i) {
    if (i == warp) before += sum;
    sum += shared.of_warp[i];
  }
  *total = sum;
  return before;
}

// The sum of a value over a warp's threads before this one, and of all.
__device__ inline uint32_t WarpSumBefore(uint32_t value, uint32_t* total) {
  const uint32_t lane = threadIdx.x % kWarp;
  uint32_t sum = value;
#pragma unroll
  for (uint32_t distance = 1; distance < kWarp; distance *= 2) {
    const uint32_t other = __shfl_sync(kAllLanes, sum, static_cast<int>(lane - distance));
    if (lane >= distance) sum += other;
  }
  *total = __shfl_sync(kAllLanes, sum, kWarp - 1);
  return sum - value;
}

// The sum of a value over the block's threads before this one, and of all. All threads of a block
// of kThreads must call this.
template <int kThreads>
__device__ inline uint32_t SumBefore(uint32_t value, CountShared<kThreads>& shared,
                                     uint32_t* total) {
  const uint32_t warp = threadIdx.x / kWarp;
  uint32_t of_warp = 0;
  uint32_t before = WarpSumBefore(value, &of_warp);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared.of_warp[warp] = of_warp;
  __syncthreads();
  uint32_t sum = 0;
#pragma unroll
  for (uint32_t i = 0; i < kThreads / kWarp; ++i) {
    if (i == warp) before += sum;
    sum += shared.of_warp[i];
  }
  *total = sum;
  return before;
}

}  // namespace longvlm::cuda
