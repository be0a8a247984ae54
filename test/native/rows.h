// Rows of length 1, and how similar they are by definition.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "inputs.h"
#include "kernels/normalize_row.h"

namespace longvlm {

inline float Chain(const float* a, const float* b, size_t dims) {
  float sum = 0;
  for (size_t k = 0; k < dims; ++k) sum = std::fma(a[k], b[k], sum);
  return sum;
}

inline std::vector<float> UnitRows(InputKind kind, size_t rows, size_t dims, uint32_t seed) {
  const std::vector<float> values = MakeInput(kind, rows, dims, seed);
  std::vector<float> out(values.size());
  for (size_t row = 0; row < rows; ++row) {
    NormalizeRow_portable(values.data() + row * dims, dims, out.data() + row * dims);
  }
  return out;
}

}  // namespace longvlm
