// Writes rows into a panel of the layout of panels.h: a transposition.
//   rows  [count, dims] float32      out  [dims, width] float32
// Column i of the panel is row number first + i, or the last one beyond it. No alignment.
// Range: first < count, dims >= 1, 1 <= width <= kMostPanelWidth; the buffers do not overlap.
// Ties: none.   Work: width dims copies; no workspace.   Error: none.
// Source: ours.
#pragma once

#include <cstddef>

namespace longvlm {

inline constexpr size_t kMostPanelWidth = 32;

void PackPanel_portable(const float* rows, size_t count, size_t first, size_t dims, size_t width,
                        float* out);
void PackPanel_avx2(const float* rows, size_t count, size_t first, size_t dims, size_t width,
                    float* out);

}  // namespace longvlm
