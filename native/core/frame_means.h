// The mean token of each frame, the feature that frames are compared by.
#pragma once

#include <vector>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

// The mean of frame number `frame`, out [width]: sums in float64, rounded once. Throws NotFinite,
// and Cancelled.
void FrameMean(ConstValues tokens, const Shape& shape, size_t frame, const Workers& workers,
               float* out);

// Those of all frames, out [batch, width].
void FrameMeans(ConstValues tokens, const Shape& shape, const Workers& workers,
                std::vector<float>& out);

}  // namespace longvlm
