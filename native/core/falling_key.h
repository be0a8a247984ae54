// Sorting of float32 values as integers, the highest first.
#pragma once

#include <bit>
#include <cstdint>

namespace longvlm {

// Maps floats to unsigned integers in descending order. -0 equals 0.
inline uint32_t FallingKey(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value + 0.0f);
  const uint32_t rising = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return ~rising;
}

// A key of a value and its index: the highest value has the lowest key; of equal values that with
// the lowest index.
inline uint64_t FallingKey(float value, size_t index) {
  return static_cast<uint64_t>(FallingKey(value)) << 32 | index;
}

inline size_t IndexOfKey(uint64_t key) { return static_cast<uint32_t>(key); }

}  // namespace longvlm
