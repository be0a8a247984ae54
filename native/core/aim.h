// AIM's merging before the language model: bipartite soft matching inside each frame, step by step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

struct AimArgs {
  static constexpr TensorNames kNames{"tokens", {"frame", "patch", "channel"}};

  ConstValues tokens;              // [frames, patches, width]
  Shape shape;                     // of `tokens`, all axes at least 1
  std::vector<uint32_t> schedule;  // tokens of a frame that each step merges: at least 1, at most
                                   // half of those left
  size_t kept;                     // of a frame, after all steps
  Values out;                      // [frames * kept, width], of the type of `tokens`
  int32_t* out_indices;            // [frames * kept], ascending
  float* out_sizes;                // [frames * kept]
  int32_t* out_owners;             // [frames, patches], which of all kept each token went into
};

// A merged token is the plain mean of what a step merges, rounded to the type of `tokens`, and
// stands where its token of B does. Throws Error ERR_LONGVLM_NOT_FINITE, and Cancelled.
void Aim(const AimArgs& args, const Workers& workers);

}  // namespace longvlm
