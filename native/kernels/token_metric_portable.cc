#include <algorithm>

#include "kernels/half.h"
#include "kernels/token_metric.h"

namespace longvlm {
namespace {

template <typename T>
void TokenMetric(const T* tokens, size_t count, size_t heads, size_t dims, float* metric) {
  constexpr size_t kChunk = 64;
  const double divisor = static_cast<double>(heads);
  for (size_t token = 0; token < count; ++token, tokens += heads * dims, metric += dims) {
    for (size_t first = 0; first < dims; first += kChunk) {
      const size_t width = std::min(kChunk, dims - first);
      double sum[kChunk] = {};
      for (size_t head = 0; head < heads; ++head) {
        const T* row = tokens + head * dims + first;
        for (size_t k = 0; k < width; ++k) sum[k] += static_cast<double>(ToFloat(row[k]));
      }
      for (size_t k = 0; k < width; ++k) metric[first + k] = static_cast<float>(sum[k] / divisor);
    }
  }
}

}  // namespace

void TokenMetricF32_portable(const float* tokens, size_t count, size_t heads, size_t dims,
                             float* metric) {
  TokenMetric(tokens, count, heads, dims, metric);
}

void TokenMetricF16_portable(const uint16_t* tokens, size_t count, size_t heads, size_t dims,
                             float* metric) {
  TokenMetric(tokens, count, heads, dims, metric);
}

}  // namespace longvlm
