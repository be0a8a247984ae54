#include "core/select_diverse.h"

#include <algorithm>
#include <limits>

#include "core/lanes.h"
#include "core/read_rows.h"

namespace longvlm {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The unpicked row with the largest value; the lowest of equal ones.
size_t Largest(const std::vector<float>& values, const std::vector<uint8_t>& picked) {
  size_t best = values.size();
  for (size_t i = 0; i < values.size(); ++i) {
    if (picked[i] == 0 && (best == values.size() || values[i] > values[best])) best = i;
  }
  return best;
}

}  // namespace

void SelectDiverse(const RowProducts& rows, const float* weights, size_t count,
                   const Workers& workers, std::vector<uint32_t>& out) {
  const size_t all = rows.rows();
  const auto distance = [weights](float product, size_t j) {
    return weights == nullptr ? 1.0f - product : (1.0f - product) * weights[j];
  };
  out.clear();
  if (count == 0) return;
  std::vector<float> closest(all);
  workers.For(rows.bands(), [&](size_t band) {
    std::vector<float> scratch;
    const float* products = rows.Band(band, scratch);
    const size_t first = band * rows.width();
    for (size_t j = first; j < std::min(first + rows.width(), all); ++j) {
      float smallest = kInfinity;
      float second = kInfinity;
      for (size_t i = 0; i < all; ++i) {
        const float value = distance(products[i * rows.width() + (j - first)], j);
        if (value < second) second = std::max(value, smallest);
        smallest = std::min(value, smallest);
      }
      closest[j] = second;
    }
  });
  std::vector<uint8_t> picked(all, 0);
  std::vector<float> products(all);
  const auto pick = [&] {
    const size_t row = Largest(closest, picked);
    picked[row] = 1;
    out.push_back(static_cast<uint32_t>(row));
  };
  pick();
  std::ranges::fill(closest, kInfinity);
  while (out.size() < count) {
    rows.Row(out.back(), products.data(), workers);
    for (size_t j = 0; j < all; ++j) closest[j] = std::min(closest[j], distance(products[j], j));
    pick();
  }
}

void SelectDiverseTokens(const SelectDiverseArgs& args, const Workers& workers) {
  const Kernels& kernels = ActiveKernels();
  const Shape& shape = args.shape;
  struct Lane {
    RowProducts rows;
    std::vector<uint32_t> picked;
  };
  std::vector<Lane> lanes;
  LocateNotFinite(args.tokens, shape, SelectDiverseArgs::kNames, [&] {
    ForItems(
        shape.batch, workers, lanes,
        [&](size_t entry, Lane& lane, const Workers& own) {
          const RowReader tokens{args.tokens, shape.width, kernels};
          lane.rows.Start(shape.rows, shape.width, kernels);
          tokens.ReadUnits(entry * shape.rows, shape.rows, lane.rows.row(0), own);
          lane.rows.Multiply(own);
          const float* weights =
              args.weights == nullptr ? nullptr : args.weights + entry * shape.rows;
          SelectDiverse(lane.rows, weights, args.count, own, lane.picked);
          std::ranges::copy(lane.picked, args.out_picked + entry * args.count);
        },
        ProductsOfAll(shape.rows, shape.width));
  });
}

}  // namespace longvlm
