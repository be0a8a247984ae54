// The metric of tokens, read once: the mean of each token over its heads.
#pragma once

#include <vector>

#include "core/matching.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

// One Matching for every batch entry of `tokens` ([batch, rows, width], width divisible by heads),
// its metric filled. Throws NotFinite, and Cancelled.
std::vector<Matching> ReadMetric(ConstValues tokens, const Shape& shape, size_t heads,
                                 const Workers& workers);

}  // namespace longvlm
