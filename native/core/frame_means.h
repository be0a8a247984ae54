// The mean token of each frame, the feature that frames are compared by.
#pragma once

#include <vector>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

// out [batch, width], sums in float64 and rounded once. Throws NotFinite, and Cancelled.
void FrameMeans(ConstValues tokens, const Shape& shape, const Workers& workers,
                std::vector<float>& out);

}  // namespace longvlm
