// LongVLM's hierarchical token merging, decided on the metric alone: the tokens are read once for
// it and once for the means.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

struct MergeTokensArgs {
  ConstValues tokens;              // [segments, tokens, channels]
  Shape shape;                     // of `tokens`, all axes at least 1
  size_t heads;                    // a divisor of channels
  std::vector<uint32_t> schedule;  // tokens to merge away at each level, at most half of those left
  Values out;                      // [segments, kept, channels], of the type of `tokens`
  float* out_sizes;                // [segments, kept], how many tokens each is the mean of
  int32_t* out_assignment;         // [segments, tokens], where each token went
};

// The tokens that a schedule leaves of `tokens`.
size_t KeptTokens(size_t tokens, const std::vector<uint32_t>& schedule);

// Throws Error ERR_LONGVLM_NOT_FINITE, and Cancelled.
void MergeTokens(const MergeTokensArgs& args, const Workers& workers);

}  // namespace longvlm
