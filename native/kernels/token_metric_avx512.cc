#include "kernels/dispatch.h"
#include "kernels/half.h"
#include "kernels/token_metric.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

namespace longvlm {
namespace {

// GCC 12 warns about its own header in the conversions without a mask.
constexpr __mmask8 kAll = 0xff;

LONGVLM_TARGET_AVX512 inline __m512d Load8(const float* from) {
  return _mm512_maskz_cvtps_pd(kAll, _mm256_loadu_ps(from));
}

LONGVLM_TARGET_AVX512 inline __m512d Load8(const uint16_t* from) {
  return _mm512_maskz_cvtps_pd(
      kAll, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

// Sums kVectors * 8 columns of all heads in registers.
template <size_t kVectors, typename T>
LONGVLM_TARGET_AVX512 inline void MeanOfHeads(const T* token, size_t heads, size_t dims,
                                              float* metric) {
  __m512d sum[kVectors];
  for (size_t i = 0; i < kVectors; ++i) sum[i] = _mm512_setzero_pd();
  for (size_t head = 0; head < heads; ++head, token += dims) {
    for (size_t i = 0; i < kVectors; ++i) sum[i] = _mm512_add_pd(sum[i], Load8(token + 8 * i));
  }
  const __m512d divisor = _mm512_set1_pd(static_cast<double>(heads));
  for (size_t i = 0; i < kVectors; ++i) {
    _mm256_storeu_ps(metric + 8 * i, _mm512_maskz_cvtpd_ps(kAll, _mm512_div_pd(sum[i], divisor)));
  }
}

// Without prefetching: processors with AVX-512 find the next page themselves, and are slower with
// it.
template <typename T>
LONGVLM_TARGET_AVX512 void TokenMetric(const T* tokens, size_t count, size_t heads, size_t dims,
                                       float* metric) {
  constexpr size_t kWide = 8;
  for (size_t token = 0; token < count; ++token, tokens += heads * dims, metric += dims) {
    size_t k = 0;
    for (; k + 8 * kWide <= dims; k += 8 * kWide) {
      MeanOfHeads<kWide>(tokens + k, heads, dims, metric + k);
    }
    for (; k + 8 <= dims; k += 8) MeanOfHeads<1>(tokens + k, heads, dims, metric + k);
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

LONGVLM_TARGET_AVX512 void TokenMetricF32_avx512(const float* tokens, size_t count, size_t heads,
                                                 size_t dims, float* metric) {
  TokenMetric(tokens, count, heads, dims, metric);
}

LONGVLM_TARGET_AVX512 void TokenMetricF16_avx512(const uint16_t* tokens, size_t count, size_t heads,
                                                 size_t dims, float* metric) {
  TokenMetric(tokens, count, heads, dims, metric);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
