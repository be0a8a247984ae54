#include "kernels/dispatch.h"
#include "kernels/half.h"
#include "kernels/token_metric.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

namespace longvlm {
namespace {

LONGVLM_TARGET_AVX2 inline __m256d Load4(const float* from) {
  return _mm256_cvtps_pd(_mm_loadu_ps(from));
}

LONGVLM_TARGET_AVX2 inline __m256d Load4(const uint16_t* from) {
  return _mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}

// Sums kVectors * 4 columns of all heads in registers.
template <size_t kVectors, typename T>
LONGVLM_TARGET_AVX2 inline void MeanOfHeads(const T* token, size_t heads, size_t dims,
                                            float* metric) {
  __m256d sum[kVectors];
  for (size_t i = 0; i < kVectors; ++i) sum[i] = _mm256_setzero_pd();
  for (size_t head = 0; head < heads; ++head, token += dims) {
    for (size_t i = 0; i < kVectors; ++i) sum[i] = _mm256_add_pd(sum[i], Load4(token + 4 * i));
  }
  const __m256d divisor = _mm256_set1_pd(static_cast<double>(heads));
  for (size_t i = 0; i < kVectors; ++i) {
    _mm_storeu_ps(metric + 4 * i, _mm256_cvtpd_ps(_mm256_div_pd(sum[i], divisor)));
  }
}

template <typename T>
LONGVLM_TARGET_AVX2 void TokenMetric(const T* tokens, size_t count, size_t heads, size_t dims,
                                     float* metric) {
  constexpr size_t kWide = 8;
  constexpr size_t kTokensAhead = 2;
  const size_t channels = heads * dims;
  for (size_t token = 0; token < count; ++token, tokens += channels, metric += dims) {
    // The hardware prefetcher does not cross pages.
    if (token + kTokensAhead < count) {
      const char* ahead = reinterpret_cast<const char*>(tokens + kTokensAhead * channels);
      for (size_t byte = 0; byte < channels * sizeof(T); byte += 64) {
        _mm_prefetch(ahead + byte, _MM_HINT_T0);
      }
    }
    size_t k = 0;
    for (; k + 4 * kWide <= dims; k += 4 * kWide) {
      MeanOfHeads<kWide>(tokens + k, heads, dims, metric + k);
    }
    for (; k + 4 <= dims; k += 4) MeanOfHeads<1>(tokens + k, heads, dims, metric + k);
    for (; k < dims; ++k) {
      double sum = 0;
      for (size_t head = 0; head < heads; ++head) {
        sum += static_cast<double>(ToFloat(tokens[head * dims + k]));
      }
      metric[k] = static_cast<float>(sum / static_cast<double>(heads));
    }
  }
}

}  // namespace

LONGVLM_TARGET_AVX2 void TokenMetricF32_avx2(const float* tokens, size_t count, size_t heads,
                                             size_t dims, float* metric) {
  TokenMetric(tokens, count, heads, dims, metric);
}

LONGVLM_TARGET_AVX2 void TokenMetricF16_avx2(const uint16_t* tokens, size_t count, size_t heads,
                                             size_t dims, float* metric) {
  TokenMetric(tokens, count, heads, dims, metric);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
