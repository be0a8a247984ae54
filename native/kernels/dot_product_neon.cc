#include "kernels/dispatch.h"
#include "kernels/dot_product.h"

#if defined(LONGVLM_ARM64)

#include <arm_neon.h>

namespace longvlm {

double DotProduct_neon(const float* a, const float* b, size_t dims) {
  float64x2_t pairs[4];
  for (float64x2_t& pair : pairs) pair = vdupq_n_f64(0);
  size_t k = 0;
  for (; k + 8 <= dims; k += 8) {
    for (size_t i = 0; i < 4; ++i) {
      pairs[i] = vfmaq_f64(pairs[i], vcvt_f64_f32(vld1_f32(a + k + 2 * i)),
                           vcvt_f64_f32(vld1_f32(b + k + 2 * i)));
    }
  }
  double sums[8];
  for (size_t i = 0; i < 4; ++i) vst1q_f64(sums + 2 * i, pairs[i]);
  for (; k < dims; ++k) sums[0] += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

SquareAndProduct SquareAndProduct_neon(const float* a, const float* b, size_t dims) {
  return {DotProduct_neon(a, a, dims), DotProduct_neon(a, b, dims)};
}

}  // namespace longvlm

#endif  // LONGVLM_ARM64
