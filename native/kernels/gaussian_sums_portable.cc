#include <bit>

#include "kernels/gaussian_sums.h"

namespace longvlm {

void SelectChannels_portable(const float* row, const uint16_t* chosen, size_t width, float* out) {
  for (size_t first = 0; first < width; first += 16) {
    for (uint32_t left = chosen[first / 16]; left != 0; left &= left - 1) {
      *out++ = row[first + static_cast<size_t>(std::countr_zero(left))];
    }
  }
}

void AddMoments_portable(const float* rows, size_t stride, size_t count, size_t width, double* sums,
                         double* squares) {
  for (size_t row = 0; row < count; ++row) {
    const float* values = rows + row * stride;
    for (size_t c = 0; c < width; ++c) {
      const double value = static_cast<double>(values[c]);
      sums[c] += value;
      squares[c] += value * value;
    }
  }
}

void SquaredDistances_portable(const float* panel, const double* centre, size_t dims,
                               double* squares) {
  double sums[kTokensOfPanel] = {};
  for (size_t c = 0; c < dims; ++c) {
    for (size_t i = 0; i < kTokensOfPanel; ++i) {
      const double difference = static_cast<double>(panel[c * kTokensOfPanel + i]) - centre[c];
      sums[i] += difference * difference;
    }
  }
  for (size_t i = 0; i < kTokensOfPanel; ++i) squares[i] = sums[i];
}

}  // namespace longvlm
