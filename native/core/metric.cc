#include "core/metric.h"

#include <algorithm>
#include <type_traits>

namespace longvlm {
namespace {

constexpr size_t kTokensPerBlock = 64;

}  // namespace

void ReadMetricRows(const TokenMetricArgs& args, const Kernels& kernels, size_t first, size_t count,
                    float* metric) {
  const size_t dims = args.shape.width / args.heads;
  Visit(args.tokens, [&](const auto* tokens) {
    const auto* from = tokens + first * args.shape.width;
    if constexpr (std::is_same_v<decltype(from), const float*>) {
      if (args.heads == 1) {
        // The mean of one head is the value itself, but for the sign of zero.
        for (size_t i = 0; i < count * dims; ++i) metric[i] = from[i] + 0.0f;
        return;
      }
      kernels.token_metric_f32(from, count, args.heads, dims, metric);
    } else {
      kernels.token_metric_f16(from, count, args.heads, dims, metric);
    }
  });
  CheckFinite(metric, count * dims);
}

void ReadMetric(ConstValues tokens, const Shape& shape, size_t heads, const Kernels& kernels,
                const Workers& workers, std::span<Matching> segments) {
  const TokenMetricArgs args{tokens, shape, heads, nullptr};
  const size_t blocks = (shape.rows + kTokensPerBlock - 1) / kTokensPerBlock;
  workers.For(shape.batch * blocks, [&](size_t i) {
    Matching& segment = segments[i / blocks];
    const size_t first = i % blocks * kTokensPerBlock;
    const size_t last = std::min(first + kTokensPerBlock, shape.rows);
    ReadMetricRows(args, kernels, i / blocks * shape.rows + first, last - first,
                   segment.metric(first));
    segment.Prepare(first, last);
  });
}

void TokenMetric(const TokenMetricArgs& args, const Workers& workers) {
  const Kernels& kernels = ActiveKernels();
  const size_t dims = args.shape.width / args.heads;
  const size_t rows = args.shape.batch * args.shape.rows;
  LocateNotFinite(args.tokens, args.shape, TokenMetricArgs::kNames, [&] {
    workers.For((rows + kTokensPerBlock - 1) / kTokensPerBlock, [&](size_t block) {
      const size_t first = block * kTokensPerBlock;
      ReadMetricRows(args, kernels, first, std::min(kTokensPerBlock, rows - first),
                     args.out + first * dims);
    });
  });
}

}  // namespace longvlm
