#include "core/temporal_similarity.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/lanes.h"

namespace longvlm {
namespace {

constexpr size_t kPlacesPerBlock = 8;
constexpr size_t kFramesPerBlock = 64;

// Cosines of a few places of some frames with the same places of the frames before, which are then
// still in a cache; of the first frame nothing but whether it is finite.
void CompareSamePlaces(const TemporalSimilarityArgs& args, const RowReader& tokens,
                       const Kernels& kernels, size_t first_frame, size_t first, size_t count) {
  const Shape& shape = args.shape;
  std::vector<float> scratch(2 * kPlacesPerBlock * shape.width);
  const float* before[kPlacesPerBlock];
  double square_before[kPlacesPerBlock];
  const size_t last_frame = std::min(first_frame + kFramesPerBlock, shape.batch);
  for (size_t frame = first_frame == 0 ? 0 : first_frame - 1; frame < last_frame; ++frame) {
    const bool compares = frame > 0 && frame >= first_frame;
    for (size_t i = 0; i < count; ++i) {
      float* own = scratch.data() + (frame % 2 * kPlacesPerBlock + i) * shape.width;
      const float* now = tokens.Row(frame * shape.rows + first + i, own);
      const SquareAndProduct found =
          kernels.square_and_product(now, compares ? before[i] : now, shape.width);
      CheckFinite(&found.square, 1);
      if (compares) {
        const double squares = square_before[i] * found.square;
        args.out_cosines[(frame - 1) * shape.rows + first + i] =
            squares > 0 ? static_cast<float>(found.product / std::sqrt(squares)) : 0;
      }
      before[i] = now;
      square_before[i] = found.square;
    }
  }
}

}  // namespace

void MatchRows(const RowReader& tokens, size_t width, std::span<const uint32_t> rows,
               std::span<const uint32_t> before, const Workers& workers, MatchScratch& scratch,
               float* best, int32_t* match) {
  const Kernels& kernels = ActiveKernels();
  Anchors& anchors = scratch.anchors;
  anchors.Set(tokens, width, before, kernels, workers);
  const size_t panels = (rows.size() + kernels.width_a - 1) / kernels.width_a;
  ForBlocks(panels, workers, scratch.panels, [&](size_t i, TokenPanel& panel) {
    const size_t first = i * kernels.width_a;
    const size_t count = std::min(kernels.width_a, rows.size() - first);
    panel.Set(tokens, width, rows.subspan(first, count), kernels);
    anchors.Match(panel, best + first, match + first);
  });
}

void TemporalSimilarity(const TemporalSimilarityArgs& args, const Workers& workers) {
  const Kernels& kernels = ActiveKernels();
  const Shape& shape = args.shape;
  LocateNotFinite(args.tokens, shape, TemporalSimilarityArgs::kNames, [&] {
    const RowReader tokens{args.tokens, shape.width, kernels};
    if (!args.best) {
      const size_t blocks = (shape.rows + kPlacesPerBlock - 1) / kPlacesPerBlock;
      const size_t frame_blocks = (shape.batch + kFramesPerBlock - 1) / kFramesPerBlock;
      workers.For(frame_blocks * blocks, [&](size_t i) {
        const size_t first = i % blocks * kPlacesPerBlock;
        CompareSamePlaces(args, tokens, kernels, i / blocks * kFramesPerBlock, first,
                          std::min(kPlacesPerBlock, shape.rows - first));
      });
      return;
    }
    struct Lane {
      std::vector<uint32_t> rows, before;
      MatchScratch scratch;
    };
    std::vector<Lane> lanes;
    ForItems(
        shape.batch - 1, workers, lanes,
        [&](size_t i, Lane& lane, const Workers& own) {
          lane.before.resize(shape.rows);
          std::iota(lane.before.begin(), lane.before.end(), static_cast<uint32_t>(i * shape.rows));
          lane.rows.resize(shape.rows);
          std::iota(lane.rows.begin(), lane.rows.end(),
                    static_cast<uint32_t>((i + 1) * shape.rows));
          MatchRows(tokens, shape.width, lane.rows, lane.before, own, lane.scratch,
                    args.out_cosines + i * shape.rows, args.out_matches + i * shape.rows);
        },
        ProductsOfAll(shape.rows, shape.width));
  });
}

}  // namespace longvlm
