#include "kernels/dispatch.h"
#include "kernels/dot_product.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

namespace longvlm {
namespace {

LONGVLM_TARGET_AVX2 inline __m256d AddProducts(const float* a, const float* b, __m256d sums) {
  return _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(a)), _mm256_cvtps_pd(_mm_loadu_ps(b)), sums);
}

}  // namespace

LONGVLM_TARGET_AVX2 double DotProduct_avx2(const float* a, const float* b, size_t dims) {
  __m256d low = _mm256_setzero_pd();
  __m256d high = low;
  size_t k = 0;
  for (; k + 8 <= dims; k += 8) {
    low = AddProducts(a + k, b + k, low);
    high = AddProducts(a + k + 4, b + k + 4, high);
  }
  double sums[8];
  _mm256_storeu_pd(sums, low);
  _mm256_storeu_pd(sums + 4, high);
  for (; k < dims; ++k) sums[0] += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

}  // namespace longvlm

#endif  // LONGVLM_X86
