#include "kernels/dispatch.h"
#include "kernels/normalize_row.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <algorithm>

namespace longvlm {
namespace {

// Adds four sums, and to the first of them what is beyond value `k`.
LONGVLM_TARGET_AVX2 inline double Total(__m256d sum, const float* row, size_t k, size_t dims) {
  double squares[4];
  _mm256_storeu_pd(squares, sum);
  for (; k < dims; ++k) {
    squares[0] += static_cast<double>(row[k]) * static_cast<double>(row[k]);
  }
  return (squares[0] + squares[1]) + (squares[2] + squares[3]);
}

// The four sums of kRows rows: a row's own depend on each other, so several rows hide the latency.
// The square of a float32 is exact in float64, so fusing its addition does not change it.
template <size_t kRows>
LONGVLM_TARGET_AVX2 inline void Squares(const float* const* rows, size_t dims, double* squares) {
  __m256d sums[kRows];
  for (size_t i = 0; i < kRows; ++i) sums[i] = _mm256_setzero_pd();
  size_t k = 0;
  for (; k + 4 <= dims; k += 4) {
    for (size_t i = 0; i < kRows; ++i) {
      const __m256d value = _mm256_cvtps_pd(_mm_loadu_ps(rows[i] + k));
      sums[i] = _mm256_fmadd_pd(value, value, sums[i]);
    }
  }
  for (size_t i = 0; i < kRows; ++i) squares[i] = Total(sums[i], rows[i], k, dims);
}

}  // namespace

LONGVLM_TARGET_AVX2 void RowSquares_avx2(const float* const* rows, size_t count, size_t dims,
                                         double* squares) {
  constexpr size_t kRows = 4;
  size_t i = 0;
  for (; i + kRows <= count; i += kRows) Squares<kRows>(rows + i, dims, squares + i);
  for (; i < count; ++i) Squares<1>(rows + i, dims, squares + i);
}

LONGVLM_TARGET_AVX2 void ScaleRow_avx2(const float* from, size_t dims, double scale, float* row) {
  const __m256d scales = _mm256_set1_pd(scale);
  size_t k = 0;
  for (; k + 4 <= dims; k += 4) {
    const __m256d value = _mm256_cvtps_pd(_mm_loadu_ps(from + k));
    const __m128 scaled = _mm256_cvtpd_ps(_mm256_mul_pd(value, scales));
    _mm_storeu_ps(row + k, _mm_add_ps(scaled, _mm_setzero_ps()));
  }
  for (; k < dims; ++k) {
    row[k] = static_cast<float>(static_cast<double>(from[k]) * scale) + 0.0f;
  }
}

bool NormalizeRow_avx2(const float* mean, size_t dims, float* row) {
  double square;
  RowSquares_avx2(&mean, 1, dims, &square);
  const double scale = InverseLength(square);
  ScaleRow_avx2(mean, dims, scale, row);
  return scale != 0;
}

void NormalizeRows_avx2(float* rows, size_t count, size_t dims) {
  constexpr size_t kRows = 4;
  for (size_t first = 0; first < count; first += kRows) {
    const float* some[kRows];
    double squares[kRows];
    const size_t here = std::min(kRows, count - first);
    for (size_t i = 0; i < here; ++i) some[i] = rows + (first + i) * dims;
    RowSquares_avx2(some, here, dims, squares);
    for (size_t i = 0; i < here; ++i) {
      ScaleRow_avx2(some[i], dims, InverseLength(squares[i]), rows + (first + i) * dims);
    }
  }
}

}  // namespace longvlm

#endif  // LONGVLM_X86
