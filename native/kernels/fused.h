// float32 multiply-add with a single rounding, as FMA instructions compute, in plain arithmetic.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace longvlm {

// float64 holds the product exactly. Rounding the sum to float64 and then to float32 equals a
// single rounding, unless the first rounding lands halfway between two float32 (or the result is
// subnormal, where the halfway points differ).
inline bool RoundsTwice(double sum) {
  constexpr uint64_t kBelowFloat = 0x1fffffffu;
  constexpr uint64_t kHalfway = 0x10000000u;
  constexpr double kSmallestNormal = 0x1p-126;
  const bool halfway = (std::bit_cast<uint64_t>(sum) & kBelowFloat) == kHalfway;
  const bool subnormal = std::fabs(sum) < kSmallestNormal && sum != 0;
  return halfway | subnormal;
}

inline float FusedMultiplyAdd(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__) || defined(_M_ARM64)
  return std::fma(a, b, c);
#else
  const double sum = static_cast<double>(a) * static_cast<double>(b) + static_cast<double>(c);
  return RoundsTwice(sum) ? std::fma(a, b, c) : static_cast<float>(sum);
#endif
}

}  // namespace longvlm
