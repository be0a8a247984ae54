// The rows of A or of B, in the layout of the product kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/bytes_of.h"
#include "kernels/dispatch.h"

namespace longvlm {

class PanelRows {
 public:
  // Allocates `rows` rows in panels of `width`, and the 16-bit panels if `screen`.
  void Resize(size_t rows, size_t dims, size_t width, bool screen);

  // Sets row `index` to `mean` scaled to length 1. Different rows may be set concurrently.
  void Set(size_t index, const float* mean, const Kernels& kernels);
  // The same with the mean sum / divisor, rounded to float32, so that a merge of any number of
  // equal rows equals those rows.
  void SetMean(size_t index, const double* sum, double divisor, const Kernels& kernels);

  // Pads the last 16-bit panel beyond `rows` with the last row, or with zeros.
  void PadScreen(size_t rows, bool with_last);

  // Writes the float32 panel `panel` of the first `rows` rows.
  void Pack(size_t panel, size_t rows, const Kernels& kernels);

  const float* row(size_t index) const { return rows_.data() + index * dims_; }
  bool is_zero(size_t index) const { return is_zero_[index] != 0; }
  const int32_t* screen(size_t panel) const { return screen_.data() + panel * width_ * pairs_; }
  const float* panel(size_t panel) const { return panels_.data() + panel * width_ * dims_; }

  size_t memory() const { return BytesOf(rows_, is_zero_, screen_, panels_); }

 private:
  int32_t* Pairs(size_t index) {
    return screen_.data() + index / width_ * width_ * pairs_ + index % width_;
  }

  size_t dims_ = 0;
  size_t pairs_ = 0;
  size_t width_ = 0;
  bool screens_ = false;
  std::vector<float> rows_;
  std::vector<uint8_t> is_zero_;
  std::vector<int32_t> screen_;
  std::vector<float> panels_;
};

}  // namespace longvlm
