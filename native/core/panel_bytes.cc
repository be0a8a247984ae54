#include "core/panel_bytes.h"

#include <algorithm>

namespace longvlm {

void PanelBytes::Resize(size_t rows, size_t dims, size_t width) {
  dims_ = dims;
  quads_ = (dims + 3) / 4;
  width_ = width;
  const size_t padded = (rows + width - 1) / width * width;
  bytes_.resize(padded * quads_);
  starts_.resize(padded);
  scales_.resize(rows);
}

void PanelBytes::SetOfA(size_t index, const float* row, const Kernels& kernels) {
  const float scale = ScaleOf(kernels.largest_magnitude(row, dims_));
  const ByteRounding rounding =
      kernels.row_bytes(row, dims_, scale, kBytesOfA, Quads(index), width_);
  scales_[index] = {scale, rounding.squares};
}

void PanelBytes::SetOfB(size_t index, const float* row, float scale, const Kernels& kernels) {
  const ByteRounding rounding = kernels.row_bytes(row, dims_, scale, 0, Quads(index), width_);
  scales_[index] = {scale, rounding.squares};
  starts_[index] = -int32_t{kBytesOfA} * rounding.sum;
}

void PanelBytes::Pad(size_t rows) {
  for (size_t index = rows; index % width_ != 0; ++index) {
    const int32_t* last = Quads(rows - 1);
    int32_t* out = Quads(index);
    for (size_t k = 0; k < quads_; ++k) out[k * width_] = last[k * width_];
    starts_[index] = starts_[rows - 1];
  }
}

ByteScale PanelBytes::ScaleOfAll(size_t rows) const {
  ByteScale all = scales_.front();
  for (size_t index = 1; index < rows; ++index) {
    all.squares = std::max(all.squares, scales_[index].squares);
  }
  return all;
}

}  // namespace longvlm
