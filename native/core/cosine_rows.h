// Some tokens as rows of length 1, for products with others. What is cheap to compare is made at
// once: 16-bit integers, straight from the tokens; float32 only when it is asked for.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/read_rows.h"
#include "core/scratch_memory.h"
#include "core/screen_margin.h"
#include "core/thread_pool.h"
#include "core/word_rows.h"
#include "kernels/dispatch.h"

namespace longvlm {

class CosineRows {
 public:
  // The tokens at `rows`, which must stay where they are, in panels of `width`: the instruction
  // set's width_a or width_b; without words where these are not wanted. Reuses memory. Throws
  // NotFinite, and Cancelled.
  void Set(const RowReader& tokens, size_t dims, std::span<const uint32_t> rows, size_t width,
           const Kernels& kernels, const Workers& workers, bool words = true);
  // Some rows of others, which must stay as they are; they may not be moved either.
  void SetPart(const CosineRows& all, std::span<const uint32_t> rows, size_t width);

  size_t size() const { return rows_.size(); }
  size_t dims() const { return dims_; }
  size_t panels() const { return (size() + width_ - 1) / width_; }
  bool is_zero(size_t index) const { return !(scales_[index] > 0); }
  double length(size_t index) const { return is_zero(index) ? 0 : 1 / scales_[index]; }
  // The row as it was given, in float32.
  const float* row(size_t index) const { return rows_[index]; }

  // Whether a choice by words is worth its while, and the words of all rows.
  bool has_words() const { return has_words_; }
  const int16_t* const* words() const { return words_.data(); }
  // How far the word product of the most similar of `others` may be below the highest one:
  // core/screen_margin.h.
  int32_t WordMarginWith(const CosineRows& others) const {
    return WordMargin(lost_squares_, others.lost_squares_, dims_);
  }

  // All rows [size, dims], of which those are valid that MakeUnit was called with. It may be called
  // by several threads at once, as may float_panels.
  const float* units() const { return units_.data(); }
  void MakeUnit(size_t index) const;
  // The rows in panels of float32.
  const float* float_panels() const;

 private:
  struct Made {
    explicit Made(size_t rows) : units(rows) {}
    std::mutex mutex;
    std::vector<std::atomic<bool>> units;
    std::atomic<bool> panels = false;
  };

  void Resize(size_t rows, size_t dims, size_t width, const Kernels& kernels);
  void MakeUnitLocked(size_t index) const;
  // Those from `first` on, up to a few.
  void SetRows(size_t first, size_t count);
  float SetWords(size_t index);

  const Kernels* kernels_ = nullptr;
  size_t dims_ = 0;
  size_t width_ = 0;
  bool has_words_ = false;
  float lost_squares_ = 0;  // at least those that rounding any row to words has taken away
  std::vector<const float*> rows_;
  std::vector<float> converted_;  // the rows, where tokens are not float32
  std::vector<double> scales_;    // 1 / length, 0 for a zero row
  std::vector<float> lost_;       // squares, of each row
  std::vector<const int16_t*> words_;
  WordRows own_words_;
  mutable std::unique_ptr<Made> made_;
  ScratchMemory<float> units_;
  mutable std::vector<float> panels_;
};

}  // namespace longvlm
