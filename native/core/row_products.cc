#include "core/row_products.h"

#include <algorithm>

namespace longvlm {

void RowProducts::Start(size_t rows, size_t dims, const Kernels& kernels) {
  kernels_ = &kernels;
  count_ = rows;
  dims_ = dims;
  rows_.resize(rows * dims);
}

void RowProducts::Pack(size_t panel, size_t width, std::vector<float>& panels) const {
  kernels_->pack_panel(rows_.data(), count_, panel * width, dims_, width,
                       panels.data() + panel * width * dims_);
}

size_t RowProducts::FirstMultiplied(size_t band) const {
  return band * width() / kernels_->width_b * kernels_->width_b;
}

void RowProducts::Mirror(size_t band) {
  const size_t first = band * width();
  const size_t columns = std::min(width(), count_ - first);
  float* to = products_.data() + band * band_size();
  for (size_t row = 0; row < FirstMultiplied(band); ++row) {
    const float* from = products_.data() + row / width() * band_size() + row % width();
    for (size_t i = 0; i < columns; ++i) to[row * width() + i] = from[(first + i) * width()];
  }
}

void RowProducts::Multiply(const Workers& workers) {
  if (count_ == 0) return;
  const size_t width_b = kernels_->width_b;
  const size_t panels_b = (count_ + width_b - 1) / width_b;
  a_.resize(bands() * width() * dims_);
  b_.resize(panels_b * width_b * dims_);
  squares_.resize(count_);
  workers.For(bands(), [&](size_t panel) { Pack(panel, width(), a_); });
  workers.For(panels_b, [&](size_t panel) { Pack(panel, width_b, b_); });
  if (keeps()) {
    products_.resize(bands() * band_size());
    workers.For(bands(), [&](size_t band) {
      const size_t first = FirstMultiplied(band);
      kernels_->products(panel_a(band), b_.data() + first * dims_, count_ - first, dims_,
                         products_.data() + band * band_size() + first * width());
    });
    workers.For(bands(), [&](size_t band) { Mirror(band); });
    for (size_t i = 0; i < count_; ++i) {
      squares_[i] = products_[i / width() * band_size() + i * width() + i % width()];
    }
    return;
  }
  std::vector<RowPair> pairs(count_);
  for (size_t i = 0; i < count_; ++i) {
    pairs[i] = {static_cast<uint32_t>(i), static_cast<uint32_t>(i)};
  }
  workers.For(bands(), [&](size_t band) {
    const size_t first = band * width();
    kernels_->similarities(rows_.data(), rows_.data(), pairs.data() + first,
                           std::min(width(), count_ - first), dims_, squares_.data() + first);
  });
}

const float* RowProducts::Band(size_t band, std::vector<float>& scratch) const {
  if (keeps()) return products_.data() + band * band_size();
  scratch.resize(band_size());
  kernels_->products(panel_a(band), b_.data(), count_, dims_, scratch.data());
  return scratch.data();
}

void RowProducts::Row(size_t index, float* out, const Workers& workers) const {
  const auto copy = [&](size_t band, const float* from) {
    const size_t first = band * width();
    std::copy_n(from, std::min(width(), count_ - first), out + first);
  };
  if (keeps()) {
    for (size_t band = 0; band < bands(); ++band) {
      copy(band, products_.data() + band * band_size() + index * width());
    }
    return;
  }
  // The rows of B are in panels, of which one is computed.
  const size_t width_b = kernels_->width_b;
  const size_t first_b = index / width_b * width_b;
  const size_t rows_b = std::min(width_b, count_ - first_b);
  constexpr size_t kBandsAtOnce = 8;
  workers.For((bands() + kBandsAtOnce - 1) / kBandsAtOnce, [&](size_t block) {
    std::vector<float> products(rows_b * width());
    const size_t last = std::min((block + 1) * kBandsAtOnce, bands());
    for (size_t band = block * kBandsAtOnce; band < last; ++band) {
      kernels_->products(panel_a(band), b_.data() + first_b * dims_, rows_b, dims_,
                         products.data());
      copy(band, products.data() + (index - first_b) * width());
    }
  });
}

}  // namespace longvlm
