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

// Of length 1: of the rows of A, all alike, row 1 of B is the most similar, and row 0 a little
// less. In float16 it is the other way round, by half of what rounding can do at most: the values
// that count lie where they are rounded down by half a unit, or up for row 0.
inline std::vector<float> RoundingToken(size_t token, size_t channels, Random& random) {
  std::vector<float> values(channels);
  constexpr size_t kCount = 7;
  if (token % 2 == 1 && token > 3) {
    for (float& value : values) value = random.Normal();
    return values;
  }
  const auto set = [&](size_t first, double value) {
    std::fill_n(values.begin() + static_cast<ptrdiff_t>(first), kCount, static_cast<float>(value));
  };
  constexpr double kDown = 0.25 * (1 + 0x1p-11 * (1 - 0x1p-6));
  constexpr double kUp = 0.25 * (1 + 0x1p-11 * (1 + 0x1p-6));
  size_t rest = 14;
  if (token % 2 == 0) {
    set(0, kDown);
    set(kCount, kUp);
  } else if (token == 3) {
    set(0, 1547.48 * 0x1p-12);
    values[rest++] = 1.2e-4f;
  } else {
    set(kCount, 1547.52 * 0x1p-12);
    rest += 2;
  }
  double square = 1;
  for (const float value : values)
    square -= static_cast<double>(value) * static_cast<double>(value);
  values[rest] = static_cast<float>(std::sqrt(square));
  return values;
}

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
    } else if (kind == "one ulp") {
      // One row for all, but for the last bit of one value.
      token == 0 ? fill(0) : copy(token, 0, 0);
      float& value = values[token * channels + random.Below(channels)];
      if (token != 0) value = std::nextafter(value, random.Below(2) == 0 ? -9.0f : 9.0f);
    } else if (kind == "groups") {
      // Of rows that no float16 can tell apart, and some float32 cannot: as many as make lists
      // long.
      constexpr size_t kGroups = 24;
      token < kGroups ? fill(token) : copy(token, random.Below(kGroups), 1e-6f);
    } else if (kind == "rounding") {
      const std::vector<float> row = RoundingToken(token, channels, random);
      std::copy(row.begin(), row.end(), values.begin() + static_cast<ptrdiff_t>(token * channels));
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
