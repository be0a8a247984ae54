// IEEE 754 half precision by integer arithmetic, for machines and loop tails without an instruction
// for it.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace longvlm {

inline float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t magnitude = half & 0x7fffu;
  if (magnitude < 0x400) {  // zero or subnormal, in units of 2^-24
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
  }
  const uint32_t bias = magnitude >= 0x7c00 ? 0x70000000u : 0x38000000u;  // 255 - 31, 127 - 15
  return std::bit_cast<float>(sign | ((magnitude << 13) + bias));
}

// Rounds to nearest, ties to even, as F16C does; values beyond 65504 become infinity.
inline uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00;
  } else if (magnitude >= 0x477ff000u) {
    half = 0x7c00;
  } else if (magnitude < 0x38800000u) {  // subnormal: adding 0.5 rounds at 2^-24
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1)) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

inline float ToFloat(float value) { return value; }
inline float ToFloat(uint16_t value) { return HalfToFloat(value); }
inline double ToDouble(float value) { return static_cast<double>(value); }
inline double ToDouble(uint16_t value) { return static_cast<double>(HalfToFloat(value)); }
inline double ToDouble(double value) { return value; }
inline void FromFloat(float value, float* out) { *out = value; }
inline void FromFloat(float value, uint16_t* out) { *out = FloatToHalf(value); }

}  // namespace longvlm
