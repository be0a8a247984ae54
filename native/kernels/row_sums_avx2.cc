#include "kernels/dispatch.h"
#include "kernels/half.h"
#include "kernels/row_sums.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <algorithm>

namespace longvlm {
namespace {

LONGVLM_TARGET_AVX2 inline __m256d Load4(const float* from) {
  return _mm256_cvtps_pd(_mm_loadu_ps(from));
}

LONGVLM_TARGET_AVX2 inline __m256d Load4(const uint16_t* from) {
  return _mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}

LONGVLM_TARGET_AVX2 inline __m256d Load4(const double* from) { return _mm256_loadu_pd(from); }

LONGVLM_TARGET_AVX2 inline void Store4(__m256d value, float* to) {
  _mm_storeu_ps(to, _mm256_cvtpd_ps(value));
}

LONGVLM_TARGET_AVX2 inline void Store4(__m256d value, uint16_t* to) {
  const __m128i half = _mm_cvtps_ph(_mm256_cvtpd_ps(value), _MM_FROUND_TO_NEAREST_INT);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), half);
}

constexpr size_t kRowsAtOnce = 4;

// kRows rows at a time: the sum is loaded and stored once for all of them. Rows are at arbitrary
// addresses, which the hardware prefetcher cannot predict, so the `next_rows` rows are prefetched.
template <size_t kRows, typename T>
LONGVLM_TARGET_AVX2 void AddRows(const T* base, const size_t* offsets, const float* weights,
                                 size_t width, size_t next_rows, double* sum) {
  constexpr size_t kValuesPerLine = 64 / sizeof(T);
  size_t c = 0;
  for (; c + 4 <= width; c += 4) {
    if (c % kValuesPerLine == 0) {
      for (size_t r = 0; r < next_rows; ++r) {
        _mm_prefetch(reinterpret_cast<const char*>(base + offsets[kRows + r] + c), _MM_HINT_T0);
      }
    }
    __m256d total = _mm256_loadu_pd(sum + c);
    for (size_t r = 0; r < kRows; ++r) {
      const __m256d value = Load4(base + offsets[r] + c);
      total = weights == nullptr
                  ? _mm256_add_pd(total, value)
                  : _mm256_fmadd_pd(value, _mm256_set1_pd(static_cast<double>(weights[r])), total);
    }
    _mm256_storeu_pd(sum + c, total);
  }
  for (; c < width; ++c) {
    for (size_t r = 0; r < kRows; ++r) {
      const double weight = weights == nullptr ? 1.0 : static_cast<double>(weights[r]);
      sum[c] += ToDouble(base[offsets[r] + c]) * weight;
    }
  }
}

template <typename T>
LONGVLM_TARGET_AVX2 void SumRows(const T* base, const size_t* offsets, const float* weights,
                                 size_t count, size_t width, double* sum) {
  std::fill_n(sum, width, 0.0);
  size_t r = 0;
  for (; r + kRowsAtOnce <= count; r += kRowsAtOnce) {
    AddRows<kRowsAtOnce>(base, offsets + r, weights == nullptr ? nullptr : weights + r, width,
                         std::min(kRowsAtOnce, count - r - kRowsAtOnce), sum);
  }
  for (; r < count; ++r) {
    AddRows<1>(base, offsets + r, weights == nullptr ? nullptr : weights + r, width, 0, sum);
  }
}

template <typename T>
LONGVLM_TARGET_AVX2 void StoreMeans(const double* sum, double divisor, size_t width, T* out) {
  const __m256d divisors = _mm256_set1_pd(divisor);
  size_t c = 0;
  for (; c + 4 <= width; c += 4) {
    Store4(_mm256_div_pd(_mm256_loadu_pd(sum + c), divisors), out + c);
  }
  for (; c < width; ++c) FromFloat(static_cast<float>(sum[c] / divisor), &out[c]);
}

}  // namespace

LONGVLM_TARGET_AVX2 void SumRowsF32_avx2(const float* base, const size_t* offsets,
                                         const float* weights, size_t count, size_t width,
                                         double* sum) {
  SumRows(base, offsets, weights, count, width, sum);
}

LONGVLM_TARGET_AVX2 void SumRowsF16_avx2(const uint16_t* base, const size_t* offsets,
                                         const float* weights, size_t count, size_t width,
                                         double* sum) {
  SumRows(base, offsets, weights, count, width, sum);
}

LONGVLM_TARGET_AVX2 void SumRowsF64_avx2(const double* base, const size_t* offsets,
                                         const float* weights, size_t count, size_t width,
                                         double* sum) {
  SumRows(base, offsets, weights, count, width, sum);
}

LONGVLM_TARGET_AVX2 void StoreMeansF32_avx2(const double* sum, double divisor, size_t width,
                                            float* out) {
  StoreMeans(sum, divisor, width, out);
}

LONGVLM_TARGET_AVX2 void StoreMeansF16_avx2(const double* sum, double divisor, size_t width,
                                            uint16_t* out) {
  StoreMeans(sum, divisor, width, out);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
