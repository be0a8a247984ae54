// Overloads of the row-sum kernels for both element types.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dispatch.h"

namespace longvlm {

inline void SumRows(const Kernels& kernels, const float* base, const size_t* offsets,
                    const float* weights, size_t count, size_t width, double* sum) {
  kernels.sum_rows_f32(base, offsets, weights, count, width, sum);
}

inline void SumRows(const Kernels& kernels, const uint16_t* base, const size_t* offsets,
                    const float* weights, size_t count, size_t width, double* sum) {
  kernels.sum_rows_f16(base, offsets, weights, count, width, sum);
}

inline void StoreMeans(const Kernels& kernels, const double* sum, double divisor, size_t width,
                       float* out) {
  kernels.store_means_f32(sum, divisor, width, out);
}

inline void StoreMeans(const Kernels& kernels, const double* sum, double divisor, size_t width,
                       uint16_t* out) {
  kernels.store_means_f16(sum, divisor, width, out);
}

}  // namespace longvlm
