// Whole numbers in proportion, by one block.
#pragma once

#include "common.cuh"

namespace longvlm::cuda {

// Maps doubles to unsigned integers in the same order; -0 equals 0.
__device__ inline uint64_t RisingKey(double value) {
  const double sum = __dadd_rn(value, 0.0);
  uint64_t bits;
  memcpy(&bits, &sum, sizeof(bits));
  constexpr uint64_t kSign = uint64_t{1} << 63;
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

// An index by its value: the highest, of equal ones the lowest index.
struct Candidate {
  uint64_t key;
  uint32_t index;
};
inline constexpr uint32_t kNobody = 0xffffffffu;

__device__ inline Candidate Better(const Candidate& a, const Candidate& b) {
  const bool second = b.index != kNobody && (a.index == kNobody || b.key > a.key ||
                                             (b.key == a.key && b.index < a.index));
  return second ? b : a;
}

template <int kThreads>
struct ShareWholeShared {
  Candidate of_warp[kThreads / kWarp];
  unsigned long long given;
};

// As the CPU's ShareWhole: counts [count] from wanted(i) and most(i). All kThreads threads of the
// block must call this; it waits for all before it begins and at the end. It ends whatever the
// numbers are.
template <int kThreads, typename Wanted, typename Most>
__device__ inline void ShareWhole(uint32_t count, uint64_t total, const Wanted& wanted,
                                  const Most& most, uint32_t* counts,
                                  ShareWholeShared<kThreads>& shared) {
  __syncthreads();
  if (threadIdx.x == 0) shared.given = 0;
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < count; i += kThreads) {
    const uint32_t limit = most(i);
    const double own = wanted(i);
    const uint32_t whole =
        own < static_cast<double>(limit) ? static_cast<uint32_t>(floor(own)) : limit;
    counts[i] = Smaller(limit, whole < 1 ? 1u : whole);
    atomicAdd(&shared.given, static_cast<unsigned long long>(counts[i]));
  }
  __syncthreads();
  uint64_t given = shared.given;
  while (given != total) {
    const bool gives = given < total;
    Candidate best = {0, kNobody};
    for (uint32_t i = threadIdx.x; i < count; i += kThreads) {
      if (gives ? counts[i] >= most(i) : counts[i] <= 1) continue;
      const double lack = __dadd_rn(wanted(i), -static_cast<double>(counts[i]));
      best = Better(best, {RisingKey(gives ? lack : -lack), i});
    }
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
      const unsigned long long key =
          __shfl_xor_sync(kAllLanes, static_cast<unsigned long long>(best.key), distance);
      const uint32_t index = __shfl_xor_sync(kAllLanes, best.index, distance);
      best = Better(best, {key, index});
    }
    __syncthreads();
    if (threadIdx.x % kWarp == 0) shared.of_warp[threadIdx.x / kWarp] = best;
    __syncthreads();
    best = shared.of_warp[0];
    for (int warp = 1; warp < kThreads / kWarp; ++warp) best = Better(best, shared.of_warp[warp]);
    if (best.index == kNobody) break;  // the same in all threads
    // Every number has one thread, which alone reads and writes it.
    if (best.index % kThreads == threadIdx.x) counts[best.index] += gives ? 1u : ~0u;
    given += gives ? uint64_t{1} : ~uint64_t{0};
  }
  __syncthreads();
}

}  // namespace longvlm::cuda
