#include "kernels/normalize_row.h"

namespace longvlm {

void RowSquares_portable(const float* const* rows, size_t count, size_t dims, double* squares) {
  for (size_t i = 0; i < count; ++i) {
    const float* row = rows[i];
    double sums[4] = {};
    size_t k = 0;
    for (; k + 4 <= dims; k += 4) {
      for (size_t lane = 0; lane < 4; ++lane) {
        const double value = static_cast<double>(row[k + lane]);
        sums[lane] += value * value;
      }
    }
    for (; k < dims; ++k) sums[0] += static_cast<double>(row[k]) * static_cast<double>(row[k]);
    squares[i] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
}

void ScaleRow_portable(const float* from, size_t dims, double scale, float* row) {
  for (size_t k = 0; k < dims; ++k) {
    row[k] = static_cast<float>(static_cast<double>(from[k]) * scale) + 0.0f;
  }
}

bool NormalizeRow_portable(const float* mean, size_t dims, float* row) {
  double square;
  RowSquares_portable(&mean, 1, dims, &square);
  const double scale = InverseLength(square);
  ScaleRow_portable(mean, dims, scale, row);
  return scale != 0;
}

void NormalizeRows_portable(float* rows, size_t count, size_t dims) {
  for (size_t i = 0; i < count; ++i) NormalizeRow_portable(rows + i * dims, dims, rows + i * dims);
}

}  // namespace longvlm
