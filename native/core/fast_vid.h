// FastVID: the tokens of each frame with the most attention stay as they are; the others merge into
// density peaks of a few frames of each segment.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

struct FastVidArgs {
  static constexpr TensorNames kNames{"tokens", {"frame", "patch", "channel"}};

  ConstValues tokens;           // [frames, patches, width]
  Shape shape;                  // of `tokens`, all axes at least 1
  const float* attention;       // [frames, patches]
  const float* frame_features;  // [frames, feature_width]; null for the mean tokens
  size_t feature_width;
  size_t salient;      // tokens of each frame that stay; with `context` at most the patches
  size_t context;      // tokens a frame that others merge into
  size_t segments;     // at least so many segments, as far as there are frames
  float threshold;     // of SegmentFrames
  size_t anchor_step;  // one frame in so many of a segment has anchors
  double beta;         // the least weight of an anchor in its blend
  // Upper bound of the tokens kept: frames * (salient + context).
  Values out;            // [bound, width], of the type of `tokens`
  int32_t* out_indices;  // [bound], ascending
  float* out_sizes;      // [bound], 1, or how many tokens were blended into an anchor
  int32_t* out_starts;   // [frames], 1 for the first frame of a segment
  int32_t* out_count;    // [1], the tokens kept
  // [frames, patches], which of the tokens kept each is or went into, or -1. Of the anchors that a
  // token went into that of the nearest anchor frame, of two as near the earlier one.
  int32_t* out_owners;
};

// Throws Error ERR_LONGVLM_NOT_FINITE, and Cancelled.
void FastVid(const FastVidArgs& args, const Workers& workers);

}  // namespace longvlm
