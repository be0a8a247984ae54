// The rows of A or of B as 8-bit integers, in the layout of ScreenPanels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/bytes_of.h"
#include "core/screen_margin.h"
#include "kernels/dispatch.h"

namespace longvlm {

class PanelBytes {
 public:
  // For up to `rows` rows in panels of `width`. With 0 rows it holds no memory of its own.
  void Resize(size_t rows, size_t dims, size_t width);

  // Sets a row of A, by a scale of its own. Different rows may be set concurrently, here and below.
  void SetOfA(size_t index, const float* row, const Kernels& kernels);
  // Sets a row of B, by the scale that all rows of B have.
  void SetOfB(size_t index, const float* row, float scale, const Kernels& kernels);
  // Fills the last panel beyond `rows` with the last row.
  void Pad(size_t rows);

  // The scale that brings values of up to this magnitude into the integers' range.
  static float ScaleOf(float largest) { return largest > 0 ? 127 / largest : 1; }

  const ByteScale& scale(size_t index) const { return scales_[index]; }
  // The scale of the first `rows` rows, of B, with the most squares of one.
  ByteScale ScaleOfAll(size_t rows) const;
  const int32_t* panel(size_t panel) const { return bytes_.data() + panel * width_ * quads_; }
  const int32_t* start(size_t panel) const { return starts_.data() + panel * width_; }

  size_t memory() const { return BytesOf(bytes_, starts_, scales_); }

 private:
  int32_t* Quads(size_t index) {
    return bytes_.data() + index / width_ * width_ * quads_ + index % width_;
  }

  size_t dims_ = 0;
  size_t quads_ = 0;
  size_t width_ = 0;
  std::vector<int32_t> bytes_;
  std::vector<int32_t> starts_;
  std::vector<ByteScale> scales_;
};

}  // namespace longvlm
