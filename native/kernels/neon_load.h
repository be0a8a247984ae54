// Four values as float64, from either element type.
#pragma once

#include "kernels/dispatch.h"

#if defined(LONGVLM_ARM64)

#include <arm_neon.h>

#include <cstdint>

namespace longvlm {

struct FourDoubles {
  float64x2_t low, high;
};

inline FourDoubles Load4(const float* from) {
  const float32x4_t value = vld1q_f32(from);
  return {vcvt_f64_f32(vget_low_f32(value)), vcvt_high_f64_f32(value)};
}

inline FourDoubles Load4(const uint16_t* from) {
  const float32x4_t value = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
  return {vcvt_f64_f32(vget_low_f32(value)), vcvt_high_f64_f32(value)};
}

inline FourDoubles Load4(const double* from) { return {vld1q_f64(from), vld1q_f64(from + 2)}; }

}  // namespace longvlm

#endif  // LONGVLM_ARM64
