// Some tokens as rows of length 1, for products with others. What is cheap to compare is made at
// once: 16-bit integers in panels, straight from the tokens; float32 only when it is asked for.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/read_rows.h"
#include "core/thread_pool.h"
#include "kernels/dispatch.h"

namespace longvlm {

class CosineRows {
 public:
  // The tokens at `rows`, which must stay where they are, in panels of `width`: the instruction
  // set's width_a or width_b; without words where these are not wanted. Reuses memory. Throws
  // NotFinite, and Cancelled.
  void Set(const RowReader& tokens, size_t dims, std::span<const uint32_t> rows, size_t width,
           const Kernels& kernels, const Workers& workers, bool words = true);

  size_t size() const { return rows_.size(); }
  size_t dims() const { return dims_; }
  size_t panels() const { return (size() + width_ - 1) / width_; }
  bool is_zero(size_t index) const { return !(scales_[index] > 0); }

  // Whether a choice by words is worth its while, and how far apart two products of them may then
  // be: core/screen_margin.h.
  bool has_words() const { return has_words_; }
  int32_t word_margin() const { return word_margin_; }
  const int32_t* words(size_t panel) const {
    return words_.data() + panel * width_ * ((dims_ + 1) / 2);
  }

  // Packs the words of up to `width` rows from `first` on in a panel of that width.
  void PackWords(size_t first, size_t width, int32_t* out) const;

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

  void MakeUnitLocked(size_t index) const;
  void SetPanel(size_t panel);

  const Kernels* kernels_ = nullptr;
  size_t dims_ = 0;
  size_t width_ = 0;
  bool has_words_ = false;
  int32_t word_margin_ = 0;
  std::vector<const float*> rows_;
  std::vector<float> converted_;  // the rows, where tokens are not float32
  std::vector<double> scales_;    // 1 / length, 0 for a zero row
  std::vector<int32_t> words_;
  mutable std::unique_ptr<Made> made_;
  mutable std::vector<float> units_;
  mutable std::vector<float> panels_;
};

}  // namespace longvlm
