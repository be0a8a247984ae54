#include "kernels/dispatch.h"
#include "kernels/dot_product.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

namespace longvlm {
namespace {

// The eight sums of a product.
struct Sums {
  __m256d low, high;
};

LONGVLM_TARGET_AVX2 inline Sums NoSums() { return {_mm256_setzero_pd(), _mm256_setzero_pd()}; }

LONGVLM_TARGET_AVX2 inline __m256d Load4(const float* from) {
  return _mm256_cvtps_pd(_mm_loadu_ps(from));
}

// Adds the products of what is beyond the first `k` values, and all sums.
LONGVLM_TARGET_AVX2 inline double Total(const Sums& found, const float* a, const float* b, size_t k,
                                        size_t dims) {
  double sums[8];
  _mm256_storeu_pd(sums, found.low);
  _mm256_storeu_pd(sums + 4, found.high);
  for (; k < dims; ++k) sums[0] += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

}  // namespace

LONGVLM_TARGET_AVX2 double DotProduct_avx2(const float* a, const float* b, size_t dims) {
  Sums sums = NoSums();
  size_t k = 0;
  for (; k + 8 <= dims; k += 8) {
    sums.low = _mm256_fmadd_pd(Load4(a + k), Load4(b + k), sums.low);
    sums.high = _mm256_fmadd_pd(Load4(a + k + 4), Load4(b + k + 4), sums.high);
  }
  return Total(sums, a, b, k, dims);
}

LONGVLM_TARGET_AVX2 SquareAndProduct SquareAndProduct_avx2(const float* a, const float* b,
                                                           size_t dims) {
  Sums square = NoSums();
  Sums product = NoSums();
  size_t k = 0;
  for (; k + 8 <= dims; k += 8) {
    // Rows mostly follow each other, which the processor notices too late at each page.
    constexpr size_t kAhead = 512;
    if (k % 16 == 0) _mm_prefetch(reinterpret_cast<const char*>(a + k + kAhead), _MM_HINT_T0);
    const __m256d low = Load4(a + k);
    const __m256d high = Load4(a + k + 4);
    square.low = _mm256_fmadd_pd(low, low, square.low);
    square.high = _mm256_fmadd_pd(high, high, square.high);
    product.low = _mm256_fmadd_pd(low, Load4(b + k), product.low);
    product.high = _mm256_fmadd_pd(high, Load4(b + k + 4), product.high);
  }
  return {Total(square, a, a, k, dims), Total(product, a, b, k, dims)};
}

}  // namespace longvlm

#endif  // LONGVLM_X86
