// V-CAST: the tokens of each frame that stand out, more of them where the video turns.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/share_budget.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

struct VCastArgs {
  static constexpr TensorNames kNames{"tokens", {"frame", "patch", "channel"}};

  ConstValues tokens;  // [frames, patches, width]
  Shape shape;         // of `tokens`, all axes at least 1
  size_t total;        // tokens to keep, at least frames * least, at most all
  size_t least;        // of each frame, at most the patches
  double temperature;  // above 0
  Leftover leftover;
  Values out;            // [total, width], of the type of `tokens`
  int32_t* out_indices;  // [total], ascending
};

// Throws Error ERR_LONGVLM_NOT_FINITE, and Cancelled.
void VCast(const VCastArgs& args, const Workers& workers);

}  // namespace longvlm
