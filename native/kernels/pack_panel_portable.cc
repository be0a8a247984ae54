#include <algorithm>

#include "kernels/pack_panel.h"

namespace longvlm {

void PackPanel_portable(const float* rows, size_t count, size_t first, size_t dims, size_t width,
                        float* out) {
  // A cache line of each row at a time, so that what is written stays in the first-level cache.
  constexpr size_t kValuesOfLine = 16;
  for (size_t from = 0; from < dims; from += kValuesOfLine) {
    const size_t last = std::min(from + kValuesOfLine, dims);
    for (size_t i = 0; i < width; ++i) {
      const float* row = rows + std::min(first + i, count - 1) * dims;
      for (size_t k = from; k < last; ++k) out[k * width + i] = row[k];
    }
  }
}

}  // namespace longvlm
