// FlashVID, its vision side: each frame keeps the tokens that differ most from each other; the
// others merge with what they continue from the frame before, and then into density peaks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

struct FlashVidArgs {
  static constexpr TensorNames kNames{"tokens", {"frame", "patch", "channel"}};

  ConstValues tokens;        // [frames, patches, width]
  Shape shape;               // of `tokens`, all axes at least 1
  const float* attention;    // [frames, patches], or null
  size_t budget;             // tokens a frame, at least 1, at most the patches
  size_t picked;             // of these, tokens that stay as they are
  float temporal_threshold;  // cosines above it merge
  float segment_threshold;   // of SegmentFrames
  size_t segments;           // at least so many segments, as far as there are frames
  // As the authors' code has it: a merged token is divided by its own and its children's number,
  // though the children are sums themselves; and clusters are rounded as in
  // core/reference_rounding.h.
  bool reference_counts;
  // As the authors' code has it: in a segment of one frame the picked tokens are clustered, too, so
  // that an index may appear twice.
  bool cluster_picked;
  // Frames share a segment's clusters so that these are as many as it may have, where each would
  // round its share up.
  bool exact_budget;
  // Upper bound of the tokens kept: frames * (budget + 1).
  Values out;            // [bound, width], of the type of `tokens`
  int32_t* out_indices;  // [bound], ascending
  float* out_sizes;      // [bound], how many tokens each stands for
  int32_t* out_starts;   // [frames], 1 for the first frame of a segment
  // The tokens kept, those that merged with the frame before, and those that went into clusters.
  int32_t* out_counts;  // [3]
  int32_t* out_owners;  // [frames, patches], which of the tokens kept each is or went into, or -1
};

// Throws Error ERR_LONGVLM_NOT_FINITE, and Cancelled.
void FlashVid(const FlashVidArgs& args, const Workers& workers);

}  // namespace longvlm
