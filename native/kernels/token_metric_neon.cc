#include "kernels/dispatch.h"
#include "kernels/half.h"
#include "kernels/neon_load.h"
#include "kernels/token_metric.h"

#if defined(LONGVLM_ARM64)

#include <arm_neon.h>

namespace longvlm {
namespace {

// Sums kVectors * 4 columns of all heads in registers.
template <size_t kVectors, typename T>
inline void MeanOfHeads(const T* token, size_t heads, size_t dims, float* metric) {
  FourDoubles sum[kVectors];
  for (size_t i = 0; i < kVectors; ++i) sum[i] = {vdupq_n_f64(0), vdupq_n_f64(0)};
  for (size_t head = 0; head < heads; ++head, token += dims) {
    for (size_t i = 0; i < kVectors; ++i) {
      const FourDoubles value = Load4(token + 4 * i);
      sum[i] = {vaddq_f64(sum[i].low, value.low), vaddq_f64(sum[i].high, value.high)};
    }
  }
  const float64x2_t divisor = vdupq_n_f64(static_cast<double>(heads));
  for (size_t i = 0; i < kVectors; ++i) {
    const float32x2_t low = vcvt_f32_f64(vdivq_f64(sum[i].low, divisor));
    vst1q_f32(metric + 4 * i, vcvt_high_f32_f64(low, vdivq_f64(sum[i].high, divisor)));
  }
}

template <typename T>
void TokenMetric(const T* tokens, size_t count, size_t heads, size_t dims, float* metric) {
  constexpr size_t kWide = 8;
  const size_t channels = heads * dims;
  for (size_t token = 0; token < count; ++token, tokens += channels, metric += dims) {
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

void TokenMetricF32_neon(const float* tokens, size_t count, size_t heads, size_t dims,
                         float* metric) {
  TokenMetric(tokens, count, heads, dims, metric);
}

void TokenMetricF16_neon(const uint16_t* tokens, size_t count, size_t heads, size_t dims,
                         float* metric) {
  TokenMetric(tokens, count, heads, dims, metric);
}

}  // namespace longvlm

#endif  // LONGVLM_ARM64
