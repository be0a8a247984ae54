// The metric of tokens, read once: the mean of each token over its heads.
#pragma once

#include <span>

#include "core/matching.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

// Fills and prepares `segments`, one for every batch entry of `tokens` ([batch, rows, width], width
// divisible by heads). The segments must have been begun. Throws NotFinite, and Cancelled.
void ReadMetric(ConstValues tokens, const Shape& shape, size_t heads, const Kernels& kernels,
                const Workers& workers, std::span<Matching> segments);

struct TokenMetricArgs {
  static constexpr TensorNames kNames{"tokens", {"batch entry", "token", "channel"}};

  ConstValues tokens;  // [batch, rows, width]
  Shape shape;         // of `tokens`, all axes at least 1
  size_t heads;        // a divisor of width
  float* out;          // [batch, rows, width / heads]
};

// The metric of `count` tokens from token `first` on, `metric` [count, width / heads]; `out` of
// `args` is not used. Throws NotFinite.
void ReadMetricRows(const TokenMetricArgs& args, const Kernels& kernels, size_t first, size_t count,
                    float* metric);

// Computes only the metric. Throws Error ERR_LONGVLM_NOT_FINITE, and Cancelled.
void TokenMetric(const TokenMetricArgs& args, const Workers& workers);

}  // namespace longvlm
