// VidCom2: the tokens of each frame that are least like the video and the frame, more of them in
// frames that are unlike the video.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

struct VidCom2Args {
  static constexpr TensorNames kNames{"tokens", {"frame", "patch", "channel"}};

  ConstValues tokens;    // [frames, patches, width]
  Shape shape;           // of `tokens`, all axes at least 1
  size_t total;          // tokens to keep, at least the frames, at most all; or 0:
  double ratio;          // part of a frame's tokens to keep on the average, above 0, at most 1
  Values out;            // [VidCom2Bound(), width], of the type of `tokens`; on a GPU alone
  int32_t* out_indices;  // [VidCom2Bound()], ascending
  int32_t* out_count;    // [1], the tokens kept
};

// The most tokens that are kept. With a ratio a frame's number is rounded, and 1 at least.
inline size_t VidCom2Bound(const Shape& shape, size_t total, double ratio) {
  const size_t all = shape.batch * shape.rows;
  if (total > 0) return total;
  const auto share = static_cast<size_t>(static_cast<double>(all) * std::min(ratio, 1.0));
  return std::min(all, share + shape.batch + 1);
}

// Throws Error ERR_LONGVLM_NOT_FINITE, and Cancelled.
void VidCom2(const VidCom2Args& args, const Workers& workers);

}  // namespace longvlm
