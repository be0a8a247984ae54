// The best tokens of each frame, as many as its budget says.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/read_rows.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

struct SelectTopKArgs {
  static constexpr TensorNames kNames{"scores", {"batch entry", "frame", "patch"}};

  const float* scores;     // [frames, patches]
  Shape shape;             // [1, frames, patches]
  const int32_t* budgets;  // [frames], each in [0, patches]
  size_t total;            // their sum
  int32_t* out_indices;    // [total], positions among all scores, ascending
};

// The highest scores of each frame; of equal ones the lowest index. Throws Error
// ERR_LONGVLM_NOT_FINITE, std::invalid_argument for a wrong budget, and Cancelled.
void SelectTopK(const SelectTopKArgs& args, const Workers& workers);

struct GatherTokensArgs {
  static constexpr TensorNames kNames{"tokens", {"frame", "patch", "channel"}};

  ConstValues tokens;      // [frames, patches, width]
  Shape shape;             // of `tokens`, all axes at least 1
  const int32_t* indices;  // [count], tokens of all frames
  size_t count;
  Values out;  // [count, width], of the type of `tokens`
};

// Copies some of the tokens. Throws Error ERR_LONGVLM_NOT_FINITE if one of these is not finite,
// std::invalid_argument for an index out of range, and Cancelled.
void GatherTokens(const GatherTokensArgs& args, const Workers& workers);

}  // namespace longvlm
