#include "core/panel_rows.h"

#include <algorithm>

namespace longvlm {
void PanelRows::Resize(size_t rows, size_t dims, size_t width, bool screen) {
  dims_ = dims;
  pairs_ = (dims + 1) / 2;
  width_ = width;
  screens_ = screen;
  const size_t padded = (rows + width - 1) / width * width;
  rows_.resize(rows * dims);
  is_zero_.resize(rows);
  // Kernels may read a whole vector that begins in the last panel.
  screen_.resize(screen ? padded * pairs_ + 8 : 0);
  panels_.resize(padded * dims);
}

void PanelRows::Set(size_t index, const float* mean, const Kernels& kernels) {
  float* row = rows_.data() + index * dims_;
  is_zero_[index] = kernels.normalize_row(mean, dims_, row) ? 0 : 1;
  if (screens_) kernels.row_words(row, dims_, Pairs(index), width_);
}

void PanelRows::SetMean(size_t index, const double* sum, double divisor, const Kernels& kernels) {
  float* row = rows_.data() + index * dims_;
  kernels.store_means_f32(sum, divisor, dims_, row);
  Set(index, row, kernels);
}

void PanelRows::PadScreen(size_t rows, bool with_last) {
  if (!screens_ || rows == 0) return;
  const int32_t* last = Pairs(rows - 1);
  for (size_t index = rows; index % width_ != 0; ++index) {
    int32_t* out = Pairs(index);
    for (size_t k = 0; k < pairs_; ++k) out[k * width_] = with_last ? last[k * width_] : 0;
  }
}

void PanelRows::Pack(size_t panel, size_t rows, const Kernels& kernels) {
  kernels.pack_panel(rows_.data(), rows, panel * width_, dims_, width_,
                     panels_.data() + panel * width_ * dims_);
}

}  // namespace longvlm
