#include "core/best_cosines.h"

#include <algorithm>
#include <limits>

namespace longvlm {
namespace {

// Panels that are taken to be like one for which words have not told rows apart.
constexpr size_t kLikeTheLast = 7;

struct Panel {
  const CosineRows& a;
  const CosineRows& b;
  const Kernels& kernels;
  size_t first;  // row of a
  size_t columns;
  Choice choice;
  float* best;
  int32_t* index;

  // Below any rounded product of equal rows.
  float might_be_equal() const { return 1 - 0x1p-22f * (static_cast<float>(a.dims()) + 4); }

  bool SameRow(size_t column, size_t row) const {
    const float* own = a.units() + (first + column) * a.dims();
    return std::equal(own, own + a.dims(), b.units() + row * b.dims());
  }
};

// The pairs of a column and a row of b that can be the most similar, ascending; false if they are
// so many that products of all pairs are less work.
bool Screen(const Panel& panel, BestCosinesScratch& scratch) {
  const auto& [a, b, kernels, first, columns, choice, best, index] = panel;
  scratch.products.resize(columns * b.size());
  kernels.word_products(a.words() + first, columns, b.words(), b.size(), a.dims(),
                        scratch.products.data(), b.size());
  const int32_t margin = a.WordMarginWith(b);
  // Their float32 products one by one take as long as those of so many rows with all columns.
  const size_t most = 2 * b.size() + kernels.width_a;
  scratch.pairs.clear();
  for (uint32_t i = 0; i < columns; ++i) {
    if (a.is_zero(first + i)) continue;
    const int32_t* products = scratch.products.data() + i * b.size();
    int32_t highest = std::numeric_limits<int32_t>::min();
    for (size_t row = 0; row < b.size(); ++row) highest = std::max(highest, products[row]);
    const int32_t least = highest - margin;
    for (uint32_t row = 0; row < b.size(); ++row) {
      if (products[row] >= least) scratch.pairs.push_back({i, row});
    }
    if (scratch.pairs.size() > most) return false;
  }
  return true;
}

void DecidePairs(const Panel& panel, BestCosinesScratch& scratch) {
  const auto& [a, b, kernels, first, columns, choice, best, index] = panel;
  std::vector<RowPair>& pairs = scratch.pairs;
  float highest[kMostPanelWidth];
  bool is_equal[kMostPanelWidth] = {};
  std::fill_n(highest, columns, -std::numeric_limits<float>::infinity());
  for (size_t i = 0; i < columns; ++i) {
    index[i] = 0;
    if (a.is_zero(first + i)) highest[i] = 0;
  }
  if (best == nullptr) {
    // A row that is alone is the most similar, whatever its product.
    size_t rows_of[kMostPanelWidth] = {};
    for (const RowPair& pair : pairs) ++rows_of[pair.row_of_a];
    std::erase_if(pairs, [&](const RowPair& pair) {
      if (rows_of[pair.row_of_a] != 1) return false;
      panel.index[pair.row_of_a] = static_cast<int32_t>(pair.row_of_b);
      return true;
    });
  }
  for (const RowPair& pair : pairs) {
    a.MakeUnit(first + pair.row_of_a);
    b.MakeUnit(pair.row_of_b);
  }
  scratch.similarities.resize(pairs.size());
  kernels.similarities(a.units() + first * a.dims(), b.units(), pairs.data(), pairs.size(),
                       a.dims(), scratch.similarities.data());
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto [column, row] = pairs[i];
    const float similarity = scratch.similarities[i];
    if (is_equal[column]) continue;
    is_equal[column] = choice == Choice::kEqualFirst && similarity > panel.might_be_equal() &&
                       panel.SameRow(column, row);
    if (!is_equal[column] && !(similarity > highest[column])) continue;
    highest[column] = similarity;
    index[column] = static_cast<int32_t>(row);
  }
  if (best != nullptr) std::copy_n(highest, columns, best);
}

void MultiplyAll(const Panel& panel) {
  const auto& [a, b, kernels, first, columns, choice, best, index] = panel;
  float highest[kMostPanelWidth];
  int32_t rows[kMostPanelWidth];
  kernels.best_match(a.float_panels() + first * a.dims(), b.float_panels(), b.size(), a.dims(),
                     highest, rows);
  for (size_t i = 0; i < columns; ++i) {
    if (choice == Choice::kEqualFirst && highest[i] > panel.might_be_equal()) {
      size_t row = 0;
      while (row < b.size() && !panel.SameRow(i, row)) ++row;
      if (row < b.size()) rows[i] = static_cast<int32_t>(row);
    }
    index[i] = rows[i];
    if (best != nullptr) best[i] = highest[i];
  }
}

}  // namespace

void FindBestCosines(const CosineRows& a, size_t panel, const CosineRows& b, Choice choice,
                     const Kernels& kernels, BestCosinesScratch& scratch, float* best,
                     int32_t* index) {
  const size_t first = panel * kernels.width_a;
  const Panel own{a,      b,    kernels, first, std::min(kernels.width_a, a.size() - first),
                  choice, best, index};
  if (a.has_words() && scratch.unscreened == 0) {
    if (Screen(own, scratch)) return DecidePairs(own, scratch);
    scratch.unscreened = kLikeTheLast;
  } else if (scratch.unscreened > 0) {
    --scratch.unscreened;
  }
  MultiplyAll(own);
}

}  // namespace longvlm
