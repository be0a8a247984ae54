#include "kernels/dispatch.h"
#include "kernels/gaussian_sums.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

namespace longvlm {
namespace {

LONGVLM_TARGET_AVX2 inline __m256d Load4(const float* from) {
  return _mm256_cvtps_pd(_mm_loadu_ps(from));
}

// kRows rows at a time: sums are loaded and stored once for all of them. Rows are far apart, so the
// next ones are prefetched.
template <size_t kRows>
LONGVLM_TARGET_AVX2 inline void AddRows(const float* rows, size_t stride, size_t width, bool more,
                                        double* sums, double* squares) {
  constexpr size_t kValuesPerLine = 16;
  size_t c = 0;
  for (; c + 4 <= width; c += 4) {
    if (more && c % kValuesPerLine == 0) {
      for (size_t r = kRows; r < 2 * kRows; ++r) {
        _mm_prefetch(reinterpret_cast<const char*>(rows + r * stride + c), _MM_HINT_T0);
      }
    }
    __m256d sum = _mm256_loadu_pd(sums + c);
    __m256d square = _mm256_loadu_pd(squares + c);
    for (size_t r = 0; r < kRows; ++r) {
      const __m256d value = Load4(rows + r * stride + c);
      sum = _mm256_add_pd(sum, value);
      // The square of a float32 is exact in float64, so fusing its addition does not change it.
      square = _mm256_fmadd_pd(value, value, square);
    }
    _mm256_storeu_pd(sums + c, sum);
    _mm256_storeu_pd(squares + c, square);
  }
  AddMoments_portable(rows + c, stride, kRows, width - c, sums + c, squares + c);
}

}  // namespace

LONGVLM_TARGET_AVX2 void AddMoments_avx2(const float* rows, size_t stride, size_t count,
                                         size_t width, double* sums, double* squares) {
  constexpr size_t kRows = 4;
  size_t row = 0;
  for (; row + kRows <= count; row += kRows) {
    AddRows<kRows>(rows + row * stride, stride, width, row + 2 * kRows <= count, sums, squares);
  }
  AddMoments_portable(rows + row * stride, stride, count - row, width, sums, squares);
}

LONGVLM_TARGET_AVX2 void SquaredDistances_avx2(const float* panel, const double* centre,
                                               size_t dims, double* squares) {
  __m256d low = _mm256_setzero_pd();
  __m256d high = low;
  for (size_t c = 0; c < dims; ++c) {
    const __m256d middle = _mm256_broadcast_sd(centre + c);
    const __m256d first = _mm256_sub_pd(Load4(panel + c * kTokensOfPanel), middle);
    const __m256d last = _mm256_sub_pd(Load4(panel + c * kTokensOfPanel + 4), middle);
    // Not fused: the square is rounded.
    low = _mm256_add_pd(low, _mm256_mul_pd(first, first));
    high = _mm256_add_pd(high, _mm256_mul_pd(last, last));
  }
  _mm256_storeu_pd(squares, low);
  _mm256_storeu_pd(squares + 4, high);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
