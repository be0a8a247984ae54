// Cuts a video where neighbouring frames are unlike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace longvlm {

struct SegmentFramesArgs {
  static constexpr TensorNames kNames{"features", {"batch entry", "frame", "channel"}};

  const float* features;  // [frames, width]
  size_t frames;          // at least 1
  size_t width;           // at least 1
  float threshold;        // cosines below it are cuts
  size_t segments;        // at least so many segments, as far as there are frames
  float* out_cosines;     // [frames - 1], of each frame but the last with the next
  int32_t* out_starts;    // [frames], 1 for the first frame of a segment, else 0
};

// A cut is where the cosine is below the threshold; if these make too few segments, the lowest
// others, too, of equal ones the first. A zero feature has cosine 0. Throws Error
// ERR_LONGVLM_NOT_FINITE.
void SegmentFrames(const SegmentFramesArgs& args, const Workers& workers);

// The first frame of each segment, and the number of frames after the last.
std::vector<size_t> SegmentBounds(const std::vector<int32_t>& starts);

}  // namespace longvlm
