// The CPU's implementation of lv_merge_tokens, float32 and float16.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace cpu_core {

struct MergeTokens {
  const void* tokens;
  bool half;
  size_t segments, tokens_per_segment, channels, heads, protect;
  std::vector<uint32_t> schedule;
  const float* sizes;
  void* out_tokens;
  float* out_sizes;
  int32_t* out_assignment;
};
void Run(const MergeTokens& work);

}  // namespace cpu_core
