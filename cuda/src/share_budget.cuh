// Tokens for each frame out of a budget for the whole video, by one block.
#pragma once

#include "common.cuh"

namespace longvlm::cuda {

struct BudgetWork {
  uint32_t frames;
  uint64_t total;
  uint64_t least;
  uint64_t most;
  bool reference;     // what is left over as V-CAST's authors share it
  double* weights;    // [frames]
  double* fractions;  // [frames]
  int32_t* order;     // [frames]
  int32_t* counts;    // [frames], out
};

struct BudgetShared {
  double sum;
  float reference_sum;
  unsigned long long left;
};

// A frame's share of `tokens`, as the CPU's ShareBudget rounds it.
__device__ inline double ShareOf(const BudgetWork& work, uint32_t frame, uint64_t tokens,
                                 const BudgetShared& shared) {
  double share;
  if (work.reference) {
    const float sum = shared.reference_sum;
    const float part = sum > 0 ? __fdiv_rn(static_cast<float>(work.weights[frame]), sum)
                               : __fdiv_rn(1.0f, static_cast<float>(work.frames));
    share = static_cast<double>(__fmul_rn(part, static_cast<float>(tokens)));
  } else {
    const double part = shared.sum > 0 ? __ddiv_rn(work.weights[frame], shared.sum)
                                       : __ddiv_rn(1.0, static_cast<double>(work.frames));
    share = __dmul_rn(part, static_cast<double>(tokens));
  }
  return share >= 0 ? share : 0;  // of tokens that are not finite it would be NaN
}

// All threads of the block must call this. `weights` and what is in `shared` need no barrier
// before. Range: frames * least <= total <= frames * most.   Error: none against the CPU's
// ShareBudget.
__device__ inline void ShareBudget(const BudgetWork& work, BudgetShared& shared) {
  const uint64_t tokens = work.total - work.frames * work.least;
  __syncthreads();
  if (threadIdx.x == 0) {
    double sum = 0;
    float reference_sum = 0;
    for (uint32_t i = 0; i < work.frames; ++i) {
      sum = __dadd_rn(sum, work.weights[i]);
      reference_sum = __fadd_rn(reference_sum, static_cast<float>(work.weights[i]));
    }
    shared.sum = sum;
    shared.reference_sum = reference_sum;
  }
  __syncthreads();
  // A share that is a whole number but for rounding is that number.
  const double rounding = work.reference ? 0 : 1e-9;
  for (uint32_t i = threadIdx.x; i < work.frames; i += blockDim.x) {
    const double share = ShareOf(work, i, tokens, shared);
    const double whole = floor(__dadd_rn(share, rounding));
    work.fractions[i] = __dadd_rn(share, -whole);
    const double most = static_cast<double>(work.most - work.least);
    work.counts[i] = static_cast<int32_t>(whole < most ? whole : most);
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < work.frames; i += blockDim.x) {
    const double own = work.fractions[i];
    uint32_t rank = 0;
    for (uint32_t j = 0; j < work.frames; ++j) {
      const double other = work.fractions[j];
      rank += other > own || (other == own && j < i) ? 1 : 0;
    }
    work.order[rank] = static_cast<int32_t>(i);
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  uint64_t left = tokens;
  for (uint32_t i = 0; i < work.frames; ++i) {
    const uint64_t given = Smaller(static_cast<uint64_t>(work.counts[i]), left);
    work.counts[i] = static_cast<int32_t>(work.least + given);
    left -= given;
  }
  while (left > 0) {
    for (uint32_t i = 0; i < work.frames; ++i) {
      const int32_t frame = work.order[i];
      const uint64_t room = work.most - static_cast<uint64_t>(work.counts[frame]);
      const uint64_t given = Smaller(left, work.reference ? room : Smaller<uint64_t>(room, 1));
      work.counts[frame] += static_cast<int32_t>(given);
      left -= given;
    }
  }
}

}  // namespace longvlm::cuda
