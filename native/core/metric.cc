#include "core/metric.h"

#include <algorithm>

#include "core/row_means.h"

namespace longvlm {

void ReadMetric(ConstValues tokens, const Shape& shape, size_t heads, const Workers& workers,
                std::vector<Matching>& segments) {
  constexpr size_t kTokensPerBlock = 64;
  const Kernels& kernels = ActiveKernels();
  const size_t dims = shape.width / heads;
  for (Matching& segment : segments) segment.Reset();
  segments.reserve(shape.batch);
  while (segments.size() < shape.batch) segments.emplace_back(shape.rows, dims, kernels);
  std::vector<size_t> head_offsets(heads);
  for (size_t head = 0; head < heads; ++head) head_offsets[head] = head * dims;

  const size_t blocks = (shape.rows + kTokensPerBlock - 1) / kTokensPerBlock;
  workers.For(shape.batch * blocks, [&](size_t i) {
    Matching& segment = segments[i / blocks];
    const size_t first = i % blocks * kTokensPerBlock;
    const size_t last = std::min(first + kTokensPerBlock, shape.rows);
    for (size_t token = first; token < last; ++token) {
      double* metric = segment.metric(token);
      std::visit(
          [&](const auto* values) {
            const auto* row = values + (i / blocks * shape.rows + token) * shape.width;
            SumRows(kernels, row, head_offsets.data(), nullptr, heads, dims, metric);
          },
          tokens);
      CheckFinite(metric, dims);
      const double divisor = static_cast<double>(heads);
      for (size_t k = 0; k < dims; ++k) {
        metric[k] = static_cast<double>(static_cast<float>(metric[k] / divisor));
      }
    }
  });
}

}  // namespace longvlm
