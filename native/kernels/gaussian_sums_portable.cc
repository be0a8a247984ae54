#include <bit>

#include "kernels/gaussian_sums.h"

namespace longvlm {
namespace {

double Scaled(float value, double scale) {
  return static_cast<double>(static_cast<float>(static_cast<double>(value) * scale));
}

}  // namespace

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

void AddScaledRows_portable(const float* rows, size_t stride, const double* scales, size_t count,
                            size_t width, double* sums) {
  for (size_t row = 0; row < count; ++row) {
    for (size_t c = 0; c < width; ++c) sums[c] += Scaled(rows[row * stride + c], scales[row]);
  }
}

void SquaredDistances_portable(const float* rows, size_t stride, const double* scales, size_t count,
                               Centres centres, size_t dims, double* squares) {
  for (size_t row = 0; row < count; ++row) {
    double sums[2] = {};
    for (size_t c = 0; c < dims; ++c) {
      const double value = Scaled(rows[row * stride + c], scales[row]);
      const double first = value - centres.first[c];
      const double second = value - centres.second[c];
      sums[0] += first * first;
      sums[1] += second * second;
    }
    squares[row] = sums[0];
    squares[count + row] = sums[1];
  }
}

}  // namespace longvlm
