// How like each token is to its video and to its frame, as VidCom2 scores them.
#pragma once

#include "reducers.cuh"

namespace longvlm::cuda {

struct GaussianWork {
  const void* tokens;  // [frames, patches, width]
  uint32_t frames, patches, width;
  uint32_t half;        // channels that are looked at
  uint64_t* variances;  // [width], keys
  uint8_t* quiet;       // [width], whether a channel is looked at
  int32_t* channels;    // [half], those, ascending
  float* units;         // [frames, patches, RowStride(half)]
  double* centres;      // [frames + 1, half], of each frame, and of the video
  float* of_video;      // [frames, patches]
  float* of_frame;      // [frames, patches]
  lv_report* report;
};

// Divides memory for a video; not for the scores.
GaussianWork TakeGaussian(uint64_t frames, uint64_t patches, uint64_t channels, Arena& arena);

// The scores of native/core/gaussian_scores.h.   Error: none against the CPU.
lv_status LaunchGaussianScores(lv_type type, const GaussianWork& work, cudaStream_t stream);

}  // namespace longvlm::cuda
