#include "kernels/dispatch.h"
#include "kernels/normalize_row.h"

#if defined(LONGVLM_ARM64)

#include <arm_neon.h>

#include <cmath>

namespace longvlm {

bool NormalizeRow_neon(const float* mean, size_t dims, float* row) {
  float64x2_t sum01 = vdupq_n_f64(0), sum23 = vdupq_n_f64(0);
  size_t k = 0;
  for (; k + 4 <= dims; k += 4) {
    const float32x4_t value = vld1q_f32(mean + k);
    const float64x2_t low = vcvt_f64_f32(vget_low_f32(value));
    const float64x2_t high = vcvt_high_f64_f32(value);
    sum01 = vaddq_f64(sum01, vmulq_f64(low, low));
    sum23 = vaddq_f64(sum23, vmulq_f64(high, high));
  }
  double first = vgetq_lane_f64(sum01, 0);
  for (size_t tail = k; tail < dims; ++tail) {
    first += static_cast<double>(mean[tail]) * static_cast<double>(mean[tail]);
  }
  const double square =
      (first + vgetq_lane_f64(sum01, 1)) + (vgetq_lane_f64(sum23, 0) + vgetq_lane_f64(sum23, 1));
  const double scale = square > 0 ? 1 / std::sqrt(square) : 0;
  for (k = 0; k + 4 <= dims; k += 4) {
    const float32x4_t value = vld1q_f32(mean + k);
    const float64x2_t low = vmulq_n_f64(vcvt_f64_f32(vget_low_f32(value)), scale);
    const float64x2_t high = vmulq_n_f64(vcvt_high_f64_f32(value), scale);
    const float32x4_t scaled = vcvt_high_f32_f64(vcvt_f32_f64(low), high);
    vst1q_f32(row + k, vaddq_f32(scaled, vdupq_n_f32(0)));
  }
  for (; k < dims; ++k) {
    row[k] = static_cast<float>(static_cast<double>(mean[k]) * scale) + 0.0f;
  }
  return scale != 0;
}

void NormalizeRows_neon(float* rows, size_t count, size_t dims) {
  for (size_t i = 0; i < count; ++i) NormalizeRow_neon(rows + i * dims, dims, rows + i * dims);
}

}  // namespace longvlm

#endif  // LONGVLM_ARM64
