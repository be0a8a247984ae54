// Sums of a level's tokens that merge into one slot, by a warp.
#pragma once

#include "levels.cuh"
#include "tuning.h"

namespace longvlm::cuda {

inline constexpr int kDimsOfLane = kCombineDims / kWarp;

// What of each token is added.
struct ListedSum {
  double sums[kDimsOfLane];  // of the dims first_dim + lane, + 32, ...
  double size;
};

// Adds kTokens tokens, of which `count` are there; the numbers of all are in the lanes from `from`
// on.
template <bool kSummed, uint32_t kTokens>
__device__ inline void AddListed(const MetricState& state, const LevelSums& in, size_t segment,
                                 uint32_t of_lane, uint32_t from, uint32_t count,
                                 uint32_t first_dim, ListedSum& sum) {
  using Value = std::conditional_t<kSummed, double, float>;
  const uint32_t lane = threadIdx.x % kWarp;
  const size_t first_row =
      kSummed ? segment * in.stride : segment * static_cast<size_t>(state.all_tokens);
  const Value* values;
  if constexpr (kSummed) {
    values = in.sums;
  } else {
    values = state.metric;
  }
  uint32_t column[kDimsOfLane];
#pragma unroll
  for (uint32_t d = 0; d < kDimsOfLane; ++d) {
    column[d] = Smaller(first_dim + d * kWarp + lane, state.dims - 1);
  }
  Value value[kTokens][kDimsOfLane];
  double size[kTokens];
#pragma unroll
  for (uint32_t i = 0; i < kTokens; ++i) {
    const int source = static_cast<int>(from + Smaller(i, count - 1));
    const size_t row = first_row + __shfl_sync(kAllLanes, of_lane, source);
#pragma unroll
    for (uint32_t d = 0; d < kDimsOfLane; ++d) {
      value[i][d] = values[row * state.dims + column[d]];
    }
    if constexpr (kSummed) {
      size[i] = in.sizes[row];
    } else {
      size[i] = state.in_sizes == nullptr ? 1.0 : static_cast<double>(state.in_sizes[row]);
    }
  }
  // Adding 0 to a sum that began with 0 changes nothing.
#pragma unroll
  for (uint32_t i = 0; i < kTokens; ++i) {
    const bool there = i < count;
    sum.size = __dadd_rn(sum.size, there ? size[i] : 0.0);
#pragma unroll
    for (int d = 0; d < kDimsOfLane; ++d) {
      double added = there ? static_cast<double>(value[i][d]) : 0.0;
      // Exact: the product of two float32.
      if (!kSummed && state.in_sizes != nullptr) added = __dmul_rn(added, size[i]);
      sum.sums[d] = __dadd_rn(sum.sums[d], added);
    }
  }
}

// The sums of `count` tokens, in their order: token_at(i) is the i-th.
template <bool kSummed, typename TokenAt>
__device__ inline ListedSum SumListed(const MetricState& state, const LevelSums& in, size_t segment,
                                      uint32_t count, uint32_t first_dim, const TokenAt& token_at) {
  // Sums take twice the registers of the metric.
  constexpr uint32_t kMany = kSummed ? kCombineMany / 2 : kCombineMany;
  const uint32_t lane = threadIdx.x % kWarp;
  ListedSum sum = {};
  for (uint32_t first = 0; first < count; first += kWarp) {
    const uint32_t listed = Smaller<uint32_t>(kWarp, count - first);
    const uint32_t of_lane = lane < listed ? token_at(first + lane) : 0;
    uint32_t from = 0;
    for (; from + kMany <= listed; from += kMany) {
      AddListed<kSummed, kMany>(state, in, segment, of_lane, from, kMany, first_dim, sum);
    }
    for (; from < listed; from += kCombineFew) {
      AddListed<kSummed, kCombineFew>(state, in, segment, of_lane, from,
                                      Smaller(kCombineFew, listed - from), first_dim, sum);
    }
  }
  return sum;
}

}  // namespace longvlm::cuda
