// EVS: the first frame, and of the others the tokens that changed most since the frame before.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

struct EvsArgs {
  static constexpr TensorNames kNames{"tokens", {"frame", "patch", "channel"}};

  ConstValues tokens;    // [frames, patches, width]
  Shape shape;           // of `tokens`, all axes at least 1
  size_t total;          // tokens to keep, at least the patches of a frame, at most all
  Values out;            // [total, width], of the type of `tokens`
  int32_t* out_indices;  // [total], ascending
};

// Throws Error ERR_LONGVLM_NOT_FINITE, and Cancelled.
void Evs(const EvsArgs& args, const Workers& workers);

}  // namespace longvlm
