#include "kernels/dispatch.h"
#include "kernels/half.h"
#include "kernels/row_sums.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <algorithm>
#include <cmath>

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
// Rows are at arbitrary addresses, which the hardware prefetcher cannot predict, so rows are
// prefetched this far ahead, into the second-level cache: with the sums they are too many for the
// first-level cache.
constexpr size_t kRowsAhead = 2 * kRowsAtOnce;

// Adds kRows rows to `sum`, which is 0 before if `first`. Prefetches the rows at `ahead`.
template <size_t kRows, bool kWeighted, typename T>
LONGVLM_TARGET_AVX2 inline void AddRows(const T* base, const size_t* offsets, const size_t* ahead,
                                        const float* weights, size_t width, bool first,
                                        double* sum) {
  constexpr size_t kValuesPerLine = 64 / sizeof(T);
  const T* row[kRows];
  const T* next[kRows];
  __m256d weight[kRows];
  for (size_t r = 0; r < kRows; ++r) {
    row[r] = base + offsets[r];
    next[r] = base + ahead[r];
    if constexpr (kWeighted) weight[r] = _mm256_set1_pd(static_cast<double>(weights[r]));
  }
  const auto add = [&](size_t c) LONGVLM_TARGET_AVX2 {
    __m256d total = first ? _mm256_setzero_pd() : _mm256_loadu_pd(sum + c);
    for (size_t r = 0; r < kRows; ++r) {
      const __m256d value = Load4(row[r] + c);
      if constexpr (kWeighted) {
        total = _mm256_fmadd_pd(value, weight[r], total);
      } else {
        total = _mm256_add_pd(total, value);
      }
    }
    _mm256_storeu_pd(sum + c, total);
  };
  size_t c = 0;
  for (; c + kValuesPerLine <= width; c += kValuesPerLine) {
    for (size_t r = 0; r < kRows; ++r) {
      _mm_prefetch(reinterpret_cast<const char*>(next[r] + c), _MM_HINT_T1);
    }
    for (size_t i = 0; i < kValuesPerLine; i += 4) add(c + i);
  }
  for (; c + 4 <= width; c += 4) add(c);
  for (; c < width; ++c) {
    double total = first ? 0.0 : sum[c];
    for (size_t r = 0; r < kRows; ++r) {
      total += ToDouble(row[r][c]) * (kWeighted ? static_cast<double>(weights[r]) : 1.0);
    }
    sum[c] = total;
  }
}

template <bool kWeighted, typename T>
LONGVLM_TARGET_AVX2 void SumRows(const T* base, const size_t* offsets, const float* weights,
                                 size_t count, size_t width, double* sum) {
  if (count == 0) std::fill_n(sum, width, 0.0);
  const auto weights_from = [weights](size_t row) { return kWeighted ? weights + row : nullptr; };
  size_t r = 0;
  for (; r + kRowsAtOnce <= count; r += kRowsAtOnce) {
    size_t ahead[kRowsAtOnce];
    for (size_t i = 0; i < kRowsAtOnce; ++i) {
      ahead[i] = offsets[std::min(r + kRowsAhead + i, count - 1)];
    }
    AddRows<kRowsAtOnce, kWeighted>(base, offsets + r, ahead, weights_from(r), width, r == 0, sum);
  }
  // What is left, at once.
  const size_t* left = offsets + r;
  switch (count - r) {
    case 1:
      return AddRows<1, kWeighted>(base, left, left, weights_from(r), width, r == 0, sum);
    case 2:
      return AddRows<2, kWeighted>(base, left, left, weights_from(r), width, r == 0, sum);
    case 3:
      return AddRows<3, kWeighted>(base, left, left, weights_from(r), width, r == 0, sum);
  }
}

template <typename T>
LONGVLM_TARGET_AVX2 void SumRows(const T* base, const size_t* offsets, const float* weights,
                                 size_t count, size_t width, double* sum) {
  if (weights == nullptr) {
    SumRows<false>(base, offsets, nullptr, count, width, sum);
  } else {
    SumRows<true>(base, offsets, weights, count, width, sum);
  }
}

// Whether dividing by a number is multiplying by its inverse, which takes less time.
inline bool IsPowerOfTwo(double value) {
  int exponent;
  return std::frexp(value, &exponent) == 0.5 && exponent > -1000 && exponent < 1000;
}

template <typename T>
LONGVLM_TARGET_AVX2 void StoreMeans(const double* sum, double divisor, size_t width, T* out) {
  size_t c = 0;
  if (IsPowerOfTwo(divisor)) {
    const __m256d inverse = _mm256_set1_pd(1 / divisor);
    for (; c + 4 <= width; c += 4) {
      Store4(_mm256_mul_pd(_mm256_loadu_pd(sum + c), inverse), out + c);
    }
  }
  const __m256d divisors = _mm256_set1_pd(divisor);
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
