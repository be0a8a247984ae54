// The metric of tokens, read once: the mean of each token over its heads.
#pragma once

#include <vector>

#include "core/matching.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

// Fills `segments` with one Matching for every batch entry of `tokens` ([batch, rows, width], width
// divisible by heads). It is empty, or what an earlier call with the same shape and heads left:
// then its memory is used again. Throws NotFinite, and Cancelled.
void ReadMetric(ConstValues tokens, const Shape& shape, size_t heads, const Workers& workers,
                std::vector<Matching>& segments);

}  // namespace longvlm
