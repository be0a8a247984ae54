#include "kernels/dispatch.h"
#include "kernels/dot_product.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

namespace longvlm {
namespace {

LONGVLM_TARGET_AVX512 inline __m512d Load8(const float* from) {
  return _mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(from));
}

// Adds the products of what is beyond the first `k` values, and all sums.
LONGVLM_TARGET_AVX512 inline double Total(__m512d found, const float* a, const float* b, size_t k,
                                          size_t dims) {
  double sums[8];
  _mm512_storeu_pd(sums, found);
  for (; k < dims; ++k) sums[0] += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

}  // namespace

LONGVLM_TARGET_AVX512 SquareAndProduct SquareAndProduct_avx512(const float* a, const float* b,
                                                               size_t dims) {
  __m512d square = _mm512_setzero_pd();
  __m512d product = square;
  size_t k = 0;
  for (; k + 8 <= dims; k += 8) {
    const __m512d value = Load8(a + k);
    square = _mm512_fmadd_pd(value, value, square);
    product = _mm512_fmadd_pd(value, Load8(b + k), product);
  }
  return {Total(square, a, a, k, dims), Total(product, a, b, k, dims)};
}

}  // namespace longvlm

#endif  // LONGVLM_X86
