#include "core/word_matrix.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace longvlm {

void WordMatrix::Multiply(const CosineRows& rows, const Kernels& kernels, const Workers& workers,
                          Exactly exactly) {
  constexpr size_t kRowsPerBlock = 12;
  kernels_ = &kernels;
  rows_ = &rows;
  exactly_ = exactly;
  count_ = rows.size();
  margin_ = rows.WordMarginWith(rows);
  words_.resize(count_ * count_);
  exact_.assign(count_ * count_, std::numeric_limits<float>::quiet_NaN());
  computed_ = 0;
  const size_t blocks = (count_ + kRowsPerBlock - 1) / kRowsPerBlock;
  workers.For(blocks, [&](size_t block) {
    const size_t first = block * kRowsPerBlock;
    kernels.word_products(rows.words() + first, std::min(kRowsPerBlock, count_ - first),
                          rows.words() + first, count_ - first, rows.dims(),
                          words_.data() + first * count_ + first, count_);
  });
  workers.For(blocks, [&](size_t block) {
    const size_t first = block * kRowsPerBlock;
    for (size_t row = first; row < std::min(first + kRowsPerBlock, count_); ++row) {
      for (size_t other = 0; other < first; ++other) {
        words_[row * count_ + other] = words_[other * count_ + row];
      }
    }
  });
}

int32_t WordMatrix::HighestOther(size_t row) const {
  const std::span<const int32_t> all = words(row);
  int32_t highest = std::numeric_limits<int32_t>::min();
  for (const int32_t word : all.first(row)) highest = std::max(highest, word);
  for (const int32_t word : all.subspan(row + 1)) highest = std::max(highest, word);
  return highest;
}

void WordMatrix::ComputeMissing() {
  found_.resize(missing_.size());
  const size_t dims = rows_->dims();
  if (exactly_ == Exactly::kUnits) {
    for (const auto& [row, other] : missing_) {
      rows_->MakeUnit(row);
      rows_->MakeUnit(other);
    }
    kernels_->similarities(rows_->units(), rows_->units(), missing_.data(), missing_.size(), dims,
                           found_.data());
    return;
  }
  // Rows are in one tensor.
  const float* first = rows_->row(0);
  const auto number = [&](uint32_t row) {
    return static_cast<uint32_t>(static_cast<size_t>(rows_->row(row) - first) / dims);
  };
  numbers_.clear();
  for (const auto& [row, other] : missing_) numbers_.push_back({number(row), number(other)});
  kernels_->similarities(first, first, numbers_.data(), numbers_.size(), dims, found_.data());
}

size_t WordMatrix::MultiplyExactly(std::span<const RowPair> pairs) {
  missing_.clear();
  for (const RowPair& pair : pairs) {
    const auto [row, other] = pair;
    if (!std::isnan(exact_[row * count_ + other])) continue;
    // The same pair may follow.
    exact_[row * count_ + other] = exact_[other * count_ + row] = 0;
    missing_.push_back(pair);
  }
  ComputeMissing();
  for (size_t i = 0; i < missing_.size(); ++i) {
    const auto [row, other] = missing_[i];
    exact_[row * count_ + other] = exact_[other * count_ + row] = found_[i];
  }
  computed_ += missing_.size();
  return computed_;
}

}  // namespace longvlm
