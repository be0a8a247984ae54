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

  // What the float32 products are of: the rows at length 1, or as they were given.
  enum class Exactly { kUnits, kRows };

  // Multiplies `rows`, which have words, and stay as they are.
  void Multiply(const CosineRows& rows, const Kernels& kernels, const Workers& workers,
                Exactly exactly = Exactly::kUnits);

  size_t rows() const { return count_; }
  // If word(i, j) is above word(k, l) by more than this, then so is product(i, j) above
  // product(k, l), by more than 2^-20. word(i, j) / kScreenScale^2 is within half of it of
  // product(i, j), in units of the rows' lengths where they are not 1.
  int32_t margin() const { return margin_; }
  int32_t word(size_t row, size_t other) const { return words_[row * count_ + other]; }
  // The products of a row with all rows.
  std::span<const int32_t> words(size_t row) const {
    return {words_.data() + row * count_, count_};
  }
  // The highest product of a row with another one. Range: rows() >= 2.
  int32_t HighestOther(size_t row) const;

  // Computes the float32 products of pairs that have none yet, and returns how many there now are.
  size_t MultiplyExactly(std::span<const RowPair> pairs);
  float product(size_t row, size_t other) const { return exact_[row * count_ + other]; }

 private:
  void ComputeMissing();

  const Kernels* kernels_ = nullptr;
  const CosineRows* rows_ = nullptr;
  Exactly exactly_ = Exactly::kUnits;
  size_t count_ = 0;
  int32_t margin_ = 0;
  std::vector<int32_t> words_;
  std::vector<float> exact_;  // NaN: not computed
  size_t computed_ = 0;
  std::vector<RowPair> missing_, numbers_;
  std::vector<float> found_;
};

}  // namespace longvlm
