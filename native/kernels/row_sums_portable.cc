#include <algorithm>

#include "kernels/half.h"
#include "kernels/row_sums.h"

namespace longvlm {
namespace {

template <typename T>
void SumRows(const T* base, const size_t* offsets, const float* weights, size_t count, size_t width,
             double* sum) {
  std::fill_n(sum, width, 0.0);
  for (size_t r = 0; r < count; ++r) {
    const T* row = base + offsets[r];
    const double weight = weights == nullptr ? 1.0 : static_cast<double>(weights[r]);
    for (size_t c = 0; c < width; ++c) sum[c] += ToDouble(row[c]) * weight;
  }
}

template <typename T>
void StoreMeans(const double* sum, double divisor, size_t width, T* out) {
  for (size_t c = 0; c < width; ++c) FromFloat(static_cast<float>(sum[c] / divisor), &out[c]);
}

}  // namespace

void SumRowsF32_portable(const float* base, const size_t* offsets, const float* weights,
                         size_t count, size_t width, double* sum) {
  SumRows(base, offsets, weights, count, width, sum);
}

void SumRowsF16_portable(const uint16_t* base, const size_t* offsets, const float* weights,
                         size_t count, size_t width, double* sum) {
  SumRows(base, offsets, weights, count, width, sum);
}

void SumRowsF64_portable(const double* base, const size_t* offsets, const float* weights,
                         size_t count, size_t width, double* sum) {
  SumRows(base, offsets, weights, count, width, sum);
}

void StoreMeansF32_portable(const double* sum, double divisor, size_t width, float* out) {
  StoreMeans(sum, divisor, width, out);
}

void StoreMeansF16_portable(const double* sum, double divisor, size_t width, uint16_t* out) {
  StoreMeans(sum, divisor, width, out);
}

}  // namespace longvlm
