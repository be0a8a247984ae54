#include "core/temporal_similarity.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/lanes.h"

namespace longvlm {
namespace {

// Cosines of the patches from `first` on with those of the same places in the frame before; of the
// first frame nothing but whether it is finite.
void CompareSamePlaces(const TemporalSimilarityArgs& args, const RowReader& tokens,
                       const Kernels& kernels, size_t frame, size_t first, size_t count) {
  const Shape& shape = args.shape;
  std::vector<float> before(count * shape.width), now(before.size());
  tokens.Read(frame * shape.rows + first, count, now.data());
  if (frame == 0) return;
  tokens.Read((frame - 1) * shape.rows + first, count, before.data());
  for (size_t i = 0; i < count; ++i) {
    const float* a = before.data() + i * shape.width;
    const float* b = now.data() + i * shape.width;
    const double squares =
        kernels.dot_product(a, a, shape.width) * kernels.dot_product(b, b, shape.width);
    args.out_cosines[(frame - 1) * shape.rows + first + i] =
        squares > 0
            ? static_cast<float>(kernels.dot_product(a, b, shape.width) / std::sqrt(squares))
            : 0;
  }
}

}  // namespace

void MatchRows(const RowReader& tokens, size_t width, std::span<const uint32_t> rows,
               std::span<const uint32_t> before, const Workers& workers, float* best,
               int32_t* match) {
  const Kernels& kernels = ActiveKernels();
  Anchors anchors;
  anchors.Set(tokens, width, before, kernels);
  const size_t panels = (rows.size() + kernels.width_a - 1) / kernels.width_a;
  workers.For(panels, [&](size_t i) {
    const size_t first = i * kernels.width_a;
    const size_t count = std::min(kernels.width_a, rows.size() - first);
    TokenPanel panel;
    panel.Read(tokens, width, rows.subspan(first, count), kernels);
    std::vector<float> highest(kernels.width_a);
    std::vector<int32_t> anchor(kernels.width_a);
    anchors.Match(panel.panel(), highest.data(), anchor.data());
    std::copy_n(highest.begin(), count, best + first);
    std::copy_n(anchor.begin(), count, match + first);
  });
}

void TemporalSimilarity(const TemporalSimilarityArgs& args, const Workers& workers) {
  const Kernels& kernels = ActiveKernels();
  const Shape& shape = args.shape;
  LocateNotFinite(args.tokens, shape, TemporalSimilarityArgs::kNames, [&] {
    const RowReader tokens{args.tokens, shape.width, kernels};
    if (!args.best) {
      constexpr size_t kRowsPerBlock = 32;
      const size_t blocks = (shape.rows + kRowsPerBlock - 1) / kRowsPerBlock;
      workers.For(shape.batch * blocks, [&](size_t i) {
        const size_t first = i % blocks * kRowsPerBlock;
        CompareSamePlaces(args, tokens, kernels, i / blocks, first,
                          std::min(kRowsPerBlock, shape.rows - first));
      });
      return;
    }
    struct Lane {
      std::vector<uint32_t> rows, before;
    };
    std::vector<Lane> lanes;
    ForItems(shape.batch - 1, workers, lanes, [&](size_t i, Lane& lane, const Workers& own) {
      lane.before.resize(shape.rows);
      std::iota(lane.before.begin(), lane.before.end(), static_cast<uint32_t>(i * shape.rows));
      lane.rows.resize(shape.rows);
      std::iota(lane.rows.begin(), lane.rows.end(), static_cast<uint32_t>((i + 1) * shape.rows));
      MatchRows(tokens, shape.width, lane.rows, lane.before, own, args.out_cosines + i * shape.rows,
                args.out_matches + i * shape.rows);
    });
  });
}

}  // namespace longvlm
