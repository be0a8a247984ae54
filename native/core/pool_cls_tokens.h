// The global semantics of a video: the mean of the frames' class tokens.
#pragma once

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

struct PoolClsTokensArgs {
  static constexpr TensorNames kNames{"cls", {"frame", "layer", "channel"}};

  ConstValues cls;  // [frames, layers, channels]
  Shape shape;      // of `cls`, all axes at least 1
  Values out;       // [layers, channels], of the type of `cls`
};

// The mean over frames in float64, rounded once. Throws Error ERR_LONGVLM_NOT_FINITE, and
// Cancelled.
void PoolClsTokens(const PoolClsTokensArgs& args, const Workers& workers);

}  // namespace longvlm
