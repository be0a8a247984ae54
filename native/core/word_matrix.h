// The products of all rows of a set with each other as 16-bit integers, and in float32 those of a
// few pairs: for choices that most of the float32 products have no part in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/cosine_rows.h"
#include "core/thread_pool.h"

namespace longvlm {

class WordMatrix {
 public:
  // Rows whose products are kept: 16 MiB of them.
  static constexpr size_t kMostRows = 2048;

  // Multiplies `rows`, which are in panels of width_a, have words, and stay where they are.
  void Multiply(const CosineRows& rows, const Kernels& kernels, const Workers& workers);

  size_t rows() const { return count_; }
  // If word(i, j) is above word(k, l) by more than this, then so is product(i, j) above
  // product(k, l), by more than 2^-20.
  int32_t margin() const { return rows_->word_margin(); }
  int32_t word(size_t row, size_t other) const {
    return words_[row / width_ * band_size() + other * width_ + row % width_];
  }
  // The products of `width` neighbouring rows, of which `row` is the first, with row `other`.
  const int32_t* band(size_t row) const { return words_.data() + row / width_ * band_size(); }
  size_t width() const { return width_; }

  // Computes the float32 products of pairs that have none yet, and returns how many there now are.
  size_t MultiplyExactly(std::span<const RowPair> pairs);
  float product(size_t row, size_t other) const { return exact_[row * count_ + other]; }

 private:
  size_t band_size() const { return padded_ * width_; }

  const Kernels* kernels_ = nullptr;
  const CosineRows* rows_ = nullptr;
  size_t count_ = 0;
  size_t width_ = 0;
  size_t padded_ = 0;  // rows, up to a multiple of width_b
  std::vector<int32_t> panels_b_;
  std::vector<int32_t> words_;
  std::vector<float> exact_;  // NaN: not computed
  size_t computed_ = 0;
  std::vector<RowPair> missing_;
  std::vector<float> found_;
};

}  // namespace longvlm
