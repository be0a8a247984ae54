#include "kernels/dot_product.h"

namespace longvlm {

double DotProduct_portable(const float* a, const float* b, size_t dims) {
  double sums[8] = {};
  size_t k = 0;
  for (; k + 8 <= dims; k += 8) {
    for (size_t lane = 0; lane < 8; ++lane) {
      sums[lane] += static_cast<double>(a[k + lane]) * static_cast<double>(b[k + lane]);
    }
  }
  for (; k < dims; ++k) sums[0] += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

SquareAndProduct SquareAndProduct_portable(const float* a, const float* b, size_t dims) {
  return {DotProduct_portable(a, a, dims), DotProduct_portable(a, b, dims)};
}

}  // namespace longvlm
