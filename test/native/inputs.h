// Seeded inputs that are hard on matching.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/half.h"

namespace longvlm {

enum class InputKind { kRandom, kVideoLike, kConstant, kRepeated, kNearTies, kIntegers, kZeros };
inline constexpr InputKind kInputKinds[] = {
    InputKind::kRandom,   InputKind::kVideoLike, InputKind::kConstant, InputKind::kRepeated,
    InputKind::kNearTies, InputKind::kIntegers,  InputKind::kZeros};

inline std::vector<float> MakeInput(InputKind kind, size_t rows, size_t width, uint32_t seed) {
  std::mt19937 random(seed);
  const auto uniform = [&random] { return static_cast<float>(random() >> 8) * 0x1p-24f; };
  const auto value = [&uniform] { return uniform() + uniform() + uniform() - 1.5f; };
  std::vector<float> base(rows * width);
  for (float& v : base) v = value();
  std::vector<float> out(base);
  const size_t frame = rows / 10 + 1;
  for (size_t row = 0; row < rows; ++row) {
    for (size_t c = 0; c < width; ++c) {
      float& v = out[row * width + c];
      switch (kind) {
        case InputKind::kRandom:
          break;
        case InputKind::kVideoLike:
          v = base[row % frame * width + c] + 0.01f * value();
          break;
        case InputKind::kConstant:
          v = base[c];
          break;
        case InputKind::kRepeated:
          v = base[row % frame * width + c];
          break;
        case InputKind::kNearTies:
          v = base[row % 3 * width + c] * (1 + static_cast<float>(random() % 5) * 0x1p-23f);
          break;
        case InputKind::kIntegers:
          v = static_cast<float>(static_cast<int>(random() % 3) - 1);
          break;
        case InputKind::kZeros:
          if (row % 3 == 1) v = c % 2 == 0 ? 0.0f : -0.0f;
          break;
      }
    }
  }
  return out;
}

inline std::vector<uint16_t> ToHalf(const std::vector<float>& values) {
  std::vector<uint16_t> out(values.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = FloatToHalf(values[i]);
  return out;
}

}  // namespace longvlm
