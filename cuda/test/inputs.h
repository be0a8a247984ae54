// Tokens of every kind that has its own way to go wrong, in any size, always the same for a seed.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace inputs {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint64_t Next() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  size_t Below(size_t count) { return static_cast<size_t>(Next() % count); }
  // About normal: the sum of four uniform values.
  float Normal() {
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<double>(Next() >> 11) * 0x1p-53 - 0.5;
    return static_cast<float>(sum * std::sqrt(3.0));
  }

 private:
  uint64_t state_;
};

// [tokens, channels], one segment.
inline std::vector<float> Make(const std::string& kind, size_t tokens, size_t channels,
                               uint64_t seed) {
  Random random(seed);
  std::vector<float> values(tokens * channels);
  const auto fill = [&](size_t token) {
    for (size_t c = 0; c < channels; ++c) values[token * channels + c] = random.Normal();
  };
  const auto copy = [&](size_t token, size_t from, float noise) {
    for (size_t c = 0; c < channels; ++c) {
      values[token * channels + c] =
          values[from * channels + c] + (noise == 0 ? 0 : noise * random.Normal());
    }
  };
  const size_t frame = std::max<size_t>(1, tokens / 8);
  for (size_t token = 0; token < tokens; ++token) {
    if (kind == "constant") {
      token == 0 ? fill(0) : copy(token, 0, 0);
    } else if (kind == "frames repeat") {
      token < frame ? fill(token) : copy(token, token % frame, 0);
    } else if (kind == "video") {
      // Patches change little from frame to frame, and some not at all.
      if (token < frame) {
        fill(token);
      } else {
        copy(token, token - frame, random.Below(4) == 0 ? 0 : 0.2f);
      }
    } else if (kind == "near ties") {
      token < frame ? fill(token) : copy(token, token % frame, 1e-7f);
    } else if (kind == "few values") {
      // Many equal similarities, of 0 too, and opposite rows.
      for (size_t c = 0; c < channels; ++c) {
        values[token * channels + c] = static_cast<float>(random.Below(3)) - 1;
      }
    } else if (kind == "zero rows") {
      if (random.Below(3) != 0) fill(token);
      if (random.Below(4) == 0) {
        for (size_t c = 0; c < channels; ++c) values[token * channels + c] = -0.0f;
      }
    } else if (kind == "all zero") {
      continue;
    } else if (kind == "wide range") {
      fill(token);
      const float scale = std::ldexp(1.0f, static_cast<int>(random.Below(20)) - 10);
      for (size_t c = 0; c < channels; ++c) values[token * channels + c] *= scale;
    } else if (kind == "wide values") {
      // What a sum of them is depends on the order, in float64 too.
      fill(token);
      for (size_t c = 0; c < channels; ++c) {
        values[token * channels + c] *= std::ldexp(1.0f, static_cast<int>(random.Below(120)) - 60);
      }
    } else {
      fill(token);
    }
  }
  return values;
}

}  // namespace inputs
