// The products of all rows of a set with each other, such as the tokens of a frame: one matrix
// product, whose result is kept while it is small and computed again, a band at a time, where it is
// not. Equal rows have equal products, to the last bit.
#pragma once

#include <cstddef>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/dispatch.h"

namespace longvlm {

class RowProducts {
 public:
  // Begins `rows` rows of `dims` values, reusing the memory of earlier ones.
  void Start(size_t rows, size_t dims, const Kernels& kernels);

  // A row, for the caller to fill. Then call Multiply.
  float* row(size_t index) { return rows_.data() + index * dims_; }
  const float* row(size_t index) const { return rows_.data() + index * dims_; }
  size_t rows() const { return count_; }
  size_t dims() const { return dims_; }

  void Multiply(const Workers& workers);

  // After Multiply: the product of a row with itself.
  float square(size_t index) const { return squares_[index]; }

  // Rows are in bands of width().
  size_t width() const { return kernels_->width_a; }
  size_t bands() const { return (count_ + width() - 1) / width(); }
  // The products of the rows of a band, [rows, width]: value [j, i] is that of row j with row
  // i of the band. What is beyond the last row has no meaning. `scratch` may hold the result.
  const float* Band(size_t band, std::vector<float>& scratch) const;

  // The products of one row with all rows, out [rows].
  void Row(size_t index, float* out, const Workers& workers) const;

 private:
  // Rows whose products are kept: 16 MiB of them.
  static constexpr size_t kMostKeptRows = 2048;

  void Pack(size_t panel, size_t width, std::vector<float>& panels) const;
  // Of a band the rows before it have its products in their own bands, mirrored: the first row that
  // it is multiplied with, and the copying of the others.
  size_t FirstMultiplied(size_t band) const;
  void Mirror(size_t band);
  bool keeps() const { return count_ <= kMostKeptRows; }
  size_t band_size() const { return count_ * width(); }
  const float* panel_a(size_t panel) const { return a_.data() + panel * width() * dims_; }

  const Kernels* kernels_ = nullptr;
  size_t count_ = 0;
  size_t dims_ = 0;
  std::vector<float> rows_;
  std::vector<float> a_, b_;
  std::vector<float> products_;
  std::vector<float> squares_;
};

}  // namespace longvlm
