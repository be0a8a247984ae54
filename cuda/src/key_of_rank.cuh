// The score at a rank, by one block, digit by digit.
#pragma once

#include "block_sums.cuh"

namespace longvlm::cuda {

inline constexpr uint32_t kDigits = 256;
inline constexpr int kDigitsOfLane = kDigits / kWarp;

// The highest score has the lowest key, as the CPU's FallingKey.
__device__ inline uint32_t FallingKey(float score) { return ~RisingKey(score); }

struct RankShared {
  uint32_t counts[kDigits];
  uint32_t prefix;  // of the key
  uint32_t rest;    // the rank among the keys with this prefix, from 1
};

// The digit of the `rest`-th lowest key among those counted, by the first warp.
__device__ inline void FindDigit(RankShared& shared, uint32_t rest, uint32_t shift) {
  const uint32_t lane = threadIdx.x % kWarp;
  uint32_t own = 0;
  for (int i = 0; i < kDigitsOfLane; ++i) {
    own += shared.counts[lane * kDigitsOfLane + static_cast<uint32_t>(i)];
  }
  uint32_t total = 0;
  uint32_t before = WarpSumBefore(own, &total);
  if (before >= rest || before + own < rest) return;  // one thread is left
  for (uint32_t digit = lane * kDigitsOfLane;; ++digit) {
    if (before + shared.counts[digit] >= rest) {
      shared.prefix |= digit << shift;
      shared.rest = rest - before;
      return;
    }
    before += shared.counts[digit];
  }
}

struct RankedKey {
  uint32_t key;
  uint32_t equals;  // how many keys that equal it are among the first `rank`
};

// The FallingKey of the `rank`-th highest of `count` scores, 1 <= rank <= count, in all threads.
// All kThreads threads of the block must call this; what is in `scores` needs a barrier before.
template <int kThreads>
__device__ inline RankedKey KeyOfRank(const float* scores, size_t count, uint32_t rank,
                                      RankShared& shared) {
  __syncthreads();
  if (threadIdx.x == 0) {
    shared.prefix = 0;
    shared.rest = rank;
  }
  for (uint32_t shift = 32; shift > 0;) {
    shift -= 8;
    for (uint32_t i = threadIdx.x; i < kDigits; i += kThreads) shared.counts[i] = 0;
    __syncthreads();
    const uint32_t prefix = shared.prefix;
    const uint32_t rest = shared.rest;
    for (size_t i = threadIdx.x; i < count; i += kThreads) {
      const uint32_t key = FallingKey(scores[i]);
      if (shift == 24 || (key ^ prefix) >> (shift + 8) == 0) {
        atomicAdd(&shared.counts[key >> shift & (kDigits - 1)], 1u);
      }
    }
    __syncthreads();
    if (threadIdx.x < kWarp) FindDigit(shared, rest, shift);
    __syncthreads();
  }
  return {shared.prefix, shared.rest};
}

}  // namespace longvlm::cuda
