#include "kernels/dispatch.h"
#include "kernels/normalize_row.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <cmath>

namespace longvlm {

// Multiplies and adds are not fused here: the square of a float32 is exact in float64, so fusing
// would not change the sum, but the contract is plain arithmetic.
LONGVLM_TARGET_AVX2 bool NormalizeRow_avx2(const float* mean, size_t dims, float* row) {
  __m256d sum = _mm256_setzero_pd();
  size_t k = 0;
  for (; k + 4 <= dims; k += 4) {
    const __m256d value = _mm256_cvtps_pd(_mm_loadu_ps(mean + k));
    sum = _mm256_add_pd(sum, _mm256_mul_pd(value, value));
  }
  double squares[4];
  _mm256_storeu_pd(squares, sum);
  for (size_t tail = k; tail < dims; ++tail) {
    squares[0] += static_cast<double>(mean[tail]) * static_cast<double>(mean[tail]);
  }
  const double square = (squares[0] + squares[1]) + (squares[2] + squares[3]);
  const double scale = square > 0 ? 1 / std::sqrt(square) : 0;
  const __m256d scales = _mm256_set1_pd(scale);
  for (k = 0; k + 4 <= dims; k += 4) {
    const __m256d value = _mm256_cvtps_pd(_mm_loadu_ps(mean + k));
    const __m128 scaled = _mm256_cvtpd_ps(_mm256_mul_pd(value, scales));
    _mm_storeu_ps(row + k, _mm_add_ps(scaled, _mm_setzero_ps()));
  }
  for (; k < dims; ++k) {
    row[k] = static_cast<float>(static_cast<double>(mean[k]) * scale) + 0.0f;
  }
  return scale != 0;
}

}  // namespace longvlm

#endif  // LONGVLM_X86
