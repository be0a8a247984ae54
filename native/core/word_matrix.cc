#include "core/word_matrix.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace longvlm {

void WordMatrix::Multiply(const CosineRows& rows, const Kernels& kernels, const Workers& workers) {
  kernels_ = &kernels;
  rows_ = &rows;
  count_ = rows.size();
  width_ = kernels.width_a;
  const size_t width_b = kernels.width_b;
  const size_t panels_b = (count_ + width_b - 1) / width_b;
  const size_t panel_size = width_b * ((rows.dims() + 1) / 2);
  padded_ = panels_b * width_b;
  panels_b_.resize(panels_b * panel_size);
  words_.resize(rows.panels() * band_size());
  exact_.assign(count_ * count_, std::numeric_limits<float>::quiet_NaN());
  computed_ = 0;
  workers.For(panels_b, [&](size_t panel) {
    rows.PackWords(panel * width_b, width_b, panels_b_.data() + panel * panel_size);
  });
  // Of a band the rows before it have its products in their own bands.
  const auto first_panel = [&](size_t band) { return band * width_ / width_b; };
  workers.For(rows.panels(), [&](size_t band) {
    const size_t first = first_panel(band);
    kernels.word_products(rows.words(band), panels_b_.data() + first * panel_size, panels_b - first,
                          rows.dims(), std::min(width_, count_ - band * width_),
                          words_.data() + band * band_size() + first * width_b * width_);
  });
  workers.For(rows.panels(), [&](size_t band) {
    const size_t first = band * width_;
    const size_t columns = std::min(width_, count_ - first);
    int32_t* to = words_.data() + band * band_size();
    for (size_t row = 0; row < first_panel(band) * width_b; ++row) {
      const int32_t* from = words_.data() + row / width_ * band_size() + row % width_;
      for (size_t i = 0; i < columns; ++i) to[row * width_ + i] = from[(first + i) * width_];
    }
  });
}

size_t WordMatrix::MultiplyExactly(std::span<const RowPair> pairs) {
  missing_.clear();
  for (const RowPair& pair : pairs) {
    float& product = exact_[pair.row_of_a * count_ + pair.row_of_b];
    if (!std::isnan(product)) continue;
    // The same pair may follow.
    product = 0;
    rows_->MakeUnit(pair.row_of_a);
    rows_->MakeUnit(pair.row_of_b);
    missing_.push_back(pair);
  }
  found_.resize(missing_.size());
  kernels_->similarities(rows_->units(), rows_->units(), missing_.data(), missing_.size(),
                         rows_->dims(), found_.data());
  for (size_t i = 0; i < missing_.size(); ++i) {
    const auto [row, other] = missing_[i];
    exact_[row * count_ + other] = exact_[other * count_ + row] = found_[i];
  }
  computed_ += missing_.size();
  return computed_;
}

}  // namespace longvlm
