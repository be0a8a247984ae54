#include "core/cosine_rows.h"

#include <algorithm>
#include <cmath>

#include "core/tensor.h"

namespace longvlm {
namespace {

// Rows that are read at once.
constexpr size_t kRowsAtOnce = 4;

}  // namespace

void CosineRows::Resize(size_t rows, size_t dims, size_t width, const Kernels& kernels) {
  kernels_ = &kernels;
  dims_ = dims;
  width_ = width;
  rows_.resize(rows);
  scales_.resize(rows);
  words_.resize(rows);
  if (made_ == nullptr || made_->units.size() < rows) {
    made_ = std::make_unique<Made>(rows);
  } else {
    for (std::atomic<bool>& unit : made_->units) unit = false;
    made_->panels = false;
  }
  units_.Resize(rows * dims);
}

void CosineRows::Set(const RowReader& tokens, size_t dims, std::span<const uint32_t> rows,
                     size_t width, const Kernels& kernels, const Workers& workers, bool words) {
  Resize(rows.size(), dims, width, kernels);
  if (!tokens.is_float32()) converted_.resize(rows.size() * dims);
  has_words_ = words && kernels.word_products != nullptr && WordMargin(dims) < 0x1p28;
  if (has_words_) {
    own_words_.Resize(rows.size(), dims);
    lost_.resize(rows.size());
  }
  workers.For((size() + kRowsAtOnce - 1) / kRowsAtOnce, [&](size_t block) {
    const size_t first = block * kRowsAtOnce;
    const size_t count = std::min(kRowsAtOnce, size() - first);
    for (size_t i = first; i < first + count; ++i) {
      rows_[i] = tokens.Row(rows[i], converted_.empty() ? nullptr : converted_.data() + i * dims);
    }
    SetRows(first, count);
  });
  lost_squares_ = 0;
  if (has_words_) {
    for (const float lost : lost_) lost_squares_ = std::max(lost_squares_, lost);
  }
}

void CosineRows::SetPart(const CosineRows& all, std::span<const uint32_t> rows, size_t width) {
  Resize(rows.size(), all.dims_, width, *all.kernels_);
  has_words_ = all.has_words_;
  lost_squares_ = all.lost_squares_;
  for (size_t i = 0; i < rows.size(); ++i) {
    rows_[i] = all.rows_[rows[i]];
    scales_[i] = all.scales_[rows[i]];
    words_[i] = all.words_[rows[i]];
  }
}

void CosineRows::SetRows(size_t first, size_t count) {
  double* scales = scales_.data() + first;
  kernels_->row_squares(rows_.data() + first, count, dims_, scales);
  CheckFinite(scales, count);
  std::transform(scales, scales + count, scales, InverseLength);
  for (size_t i = first; has_words_ && i < first + count; ++i) lost_[i] = SetWords(i);
}

float CosineRows::SetWords(size_t index) {
  // A larger factor may not be finite: words then come from the row of length 1.
  constexpr double kLargestFactor = 0x1p100;
  int16_t* words = own_words_.row(index);
  words_[index] = words;
  const double factor = scales_[index] * static_cast<double>(kScreenScale);
  if (factor <= kLargestFactor) {
    return kernels_->scale_words(rows_[index], static_cast<float>(factor), dims_, words);
  }
  MakeUnit(index);
  return kernels_->scale_words(units_.data() + index * dims_, kScreenScale, dims_, words);
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
