// How like each token is to its video and to its frame, as VidCom2 scores them.
#pragma once

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

struct GaussianScoresArgs {
  static constexpr TensorNames kNames{"tokens", {"frame", "patch", "channel"}};

  ConstValues tokens;  // [frames, patches, width]
  Shape shape;         // of `tokens`, all axes at least 1
  float* out_video;    // [frames, patches]
  float* out_frame;    // [frames, patches]
};

// Over the half of the channels with the lowest variance, of equal ones the first, and of tokens
// scaled to length 1 there: the sum of exp(-d^2 / (2 alpha)) for alpha = 1/8, 1/4, 1/2, 1 and 2,
// where d is the distance from the mean of all tokens, or of the frame's. Throws Error
// ERR_LONGVLM_NOT_FINITE, and Cancelled.
void GaussianScores(const GaussianScoresArgs& args, const Workers& workers);

}  // namespace longvlm
