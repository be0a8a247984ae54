#include "core/cosine_rows.h"

#include <algorithm>
#include <cmath>

#include "core/screen_margin.h"
#include "core/tensor.h"

namespace longvlm {

void CosineRows::Set(const RowReader& tokens, size_t dims, std::span<const uint32_t> rows,
                     size_t width, const Kernels& kernels, const Workers& workers, bool words) {
  kernels_ = &kernels;
  dims_ = dims;
  width_ = width;
  rows_.resize(rows.size());
  scales_.resize(rows.size());
  if (!tokens.is_float32()) converted_.resize(rows.size() * dims);
  if (made_ == nullptr || made_->units.size() < rows.size()) {
    made_ = std::make_unique<Made>(rows.size());
  } else {
    for (std::atomic<bool>& unit : made_->units) unit = false;
    made_->panels = false;
  }
  units_.resize(rows.size() * dims);
  const double margin = WordMargin(dims);
  has_words_ = words && kernels.word_products != nullptr && margin < 0x1p28;
  word_margin_ = has_words_ ? static_cast<int32_t>(std::ceil(margin)) : 0;
  if (has_words_) words_.resize(panels() * width * ((dims + 1) / 2));
  workers.For(panels(), [&](size_t panel) {
    const size_t first = panel * width;
    for (size_t i = first; i < std::min(first + width, size()); ++i) {
      rows_[i] = tokens.Row(rows[i], converted_.empty() ? nullptr : converted_.data() + i * dims);
    }
    SetPanel(panel);
  });
}

void CosineRows::SetPanel(size_t panel) {
  const size_t first = panel * width_;
  const size_t count = std::min(width_, size() - first);
  double* scales = scales_.data() + first;
  kernels_->row_squares(rows_.data() + first, count, dims_, scales);
  CheckFinite(scales, count);
  std::transform(scales, scales + count, scales, InverseLength);
  if (has_words_) {
    PackWords(first, width_, words_.data() + panel * width_ * ((dims_ + 1) / 2));
  }
}

void CosineRows::PackWords(size_t first, size_t width, int32_t* out) const {
  // A larger factor may not be finite: words then come from the row of length 1.
  constexpr double kLargestFactor = 0x1p100;
  const size_t count = std::min(width, size() - first);
  const float* from[kMostPanelWidth];
  float factors[kMostPanelWidth];
  for (size_t i = 0; i < count; ++i) {
    const double factor = scales_[first + i] * static_cast<double>(kScreenScale);
    const bool is_tiny = factor > kLargestFactor;
    if (is_tiny) MakeUnit(first + i);
    from[i] = is_tiny ? units_.data() + (first + i) * dims_ : rows_[first + i];
    factors[i] = is_tiny ? kScreenScale : static_cast<float>(factor);
  }
  kernels_->pack_words(from, factors, count, dims_, out, width);
}

void CosineRows::MakeUnitLocked(size_t index) const {
  std::atomic<bool>& made = made_->units[index];
  if (made.load(std::memory_order_relaxed)) return;
  kernels_->scale_row(rows_[index], dims_, scales_[index], units_.data() + index * dims_);
  made.store(true, std::memory_order_release);
}

void CosineRows::MakeUnit(size_t index) const {
  if (made_->units[index].load(std::memory_order_acquire)) return;
  const std::lock_guard<std::mutex> lock(made_->mutex);
  MakeUnitLocked(index);
}

const float* CosineRows::float_panels() const {
  if (made_->panels.load(std::memory_order_acquire)) return panels_.data();
  const std::lock_guard<std::mutex> lock(made_->mutex);
  if (made_->panels.load(std::memory_order_relaxed)) return panels_.data();
  for (size_t i = 0; i < size(); ++i) MakeUnitLocked(i);
  panels_.resize(panels() * width_ * dims_);
  for (size_t panel = 0; panel < panels(); ++panel) {
    kernels_->pack_panel(units_.data(), size(), panel * width_, dims_, width_,
                         panels_.data() + panel * width_ * dims_);
  }
  made_->panels.store(true, std::memory_order_release);
  return panels_.data();
}

}  // namespace longvlm
