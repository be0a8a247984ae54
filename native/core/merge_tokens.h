// LongVLM's hierarchical token merging, decided on the metric alone: the tokens are read once for
// the metric and once for the means.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/matching.h"
#include "core/merge_by_assignment.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

struct MergeTokensArgs {
  static constexpr TensorNames kNames{"tokens", {"segment", "token", "channel"}};

  ConstValues tokens;              // [segments, tokens, channels]
  Shape shape;                     // of `tokens`, all axes at least 1
  size_t heads;                    // a divisor of channels
  std::vector<uint32_t> schedule;  // tokens to merge away at each level, at most half of those left
  Values out;                      // [segments, kept, channels], of the type of `tokens`
  float* out_sizes;                // [segments, kept], how many tokens each is the mean of
  int32_t* out_assignment;         // [segments, tokens], where each token went
  size_t protected_tokens = 0;     // at most the tokens: so many leading ones are left as they are
  const float* sizes = nullptr;    // [segments, tokens], above 0: how many each is the mean of
};

// The number of tokens that remain of `tokens` after a schedule.
size_t KeptTokens(size_t tokens, size_t protected_tokens, const std::vector<uint32_t>& schedule);

// Merges tokens, and keeps its memory for the next call. Calls must not overlap.
class TokenMerger {
 public:
  // Throws Error ERR_LONGVLM_NOT_FINITE, and Cancelled.
  void Merge(const MergeTokensArgs& args, const Workers& workers);

  // Number of bytes that are kept.
  size_t memory() const;

 private:
  // Memory to merge some segments in step.
  struct Lane {
    std::vector<Matching> segments;
    std::vector<SlotRows> slot_rows;
  };

  void MergeSegments(const MergeTokensArgs& args, size_t first, size_t count,
                     const Workers& workers, Lane& lane) const;

  std::vector<Lane> lanes_;
};

// TokenMerger::Merge with newly allocated memory.
void MergeTokens(const MergeTokensArgs& args, const Workers& workers);

}  // namespace longvlm
