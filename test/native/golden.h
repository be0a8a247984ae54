// The reference's results in test/fixtures/merge: safetensors files, as plain as this project's
// script wrote them (float32 and int32 tensors, metadata of numbers).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace longvlm {

struct Golden {
  std::string name;
  size_t segments, tokens, channels, kept;
  size_t heads;
  std::vector<uint32_t> schedule;
  std::vector<float> input;         // [segments, tokens, channels]
  std::vector<float> merged;        // [segments, kept, channels]
  std::vector<float> sizes;         // [segments, kept]
  std::vector<int32_t> assignment;  // [segments, tokens]
};

// All of them in `folder`. Throws std::runtime_error when there are none, or one cannot be read.
std::vector<Golden> ReadGolden(const std::string& folder);

}  // namespace longvlm
