#include "kernels/dispatch.h"
#include "kernels/normalize_row.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <cmath>

namespace longvlm {

namespace {

// 1 / length of a row from the four sums of its squares, or 0; adds what is beyond value `k`.
LONGVLM_TARGET_AVX2 inline double Scale(__m256d sum, const float* row, size_t k, size_t dims) {
  double squares[4];
  _mm256_storeu_pd(squares, sum);
  for (; k < dims; ++k) {
    squares[0] += static_cast<double>(row[k]) * static_cast<double>(row[k]);
  }
  const double square = (squares[0] + squares[1]) + (squares[2] + squares[3]);
  return square > 0 ? 1 / std::sqrt(square) : 0;
}

LONGVLM_TARGET_AVX2 inline void ScaleRow(const float* from, size_t dims, double scale, float* row) {
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

// The four sums of kRows rows: a row's own depend on each other, so several rows hide the latency.
// The square of a float32 is exact in float64, so fusing its addition does not change it.
template <size_t kRows>
LONGVLM_TARGET_AVX2 inline void Scales(const float* rows, size_t dims, double* scales) {
  __m256d sums[kRows];
  for (size_t i = 0; i < kRows; ++i) sums[i] = _mm256_setzero_pd();
  size_t k = 0;
  for (; k + 4 <= dims; k += 4) {
    for (size_t i = 0; i < kRows; ++i) {
      const __m256d value = _mm256_cvtps_pd(_mm_loadu_ps(rows + i * dims + k));
      sums[i] = _mm256_fmadd_pd(value, value, sums[i]);
    }
  }
  for (size_t i = 0; i < kRows; ++i) scales[i] = Scale(sums[i], rows + i * dims, k, dims);
}

}  // namespace

LONGVLM_TARGET_AVX2 bool NormalizeRow_avx2(const float* mean, size_t dims, float* row) {
  double scale;
  Scales<1>(mean, dims, &scale);
  ScaleRow(mean, dims, scale, row);
  return scale != 0;
}

LONGVLM_TARGET_AVX2 void NormalizeRows_avx2(float* rows, size_t count, size_t dims) {
  constexpr size_t kRows = 4;
  size_t first = 0;
  for (; first + kRows <= count; first += kRows) {
    float* from = rows + first * dims;
    double scales[kRows];
    Scales<kRows>(from, dims, scales);
    for (size_t i = 0; i < kRows; ++i) ScaleRow(from + i * dims, dims, scales[i], from + i * dims);
  }
  for (; first < count; ++first) NormalizeRow_avx2(rows + first * dims, dims, rows + first * dims);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
