#include <cmath>

#include "kernels/normalize_row.h"

namespace longvlm {

bool NormalizeRow_portable(const float* mean, size_t dims, float* row) {
  double squares[4] = {};
  size_t k = 0;
  for (; k + 4 <= dims; k += 4) {
    for (size_t lane = 0; lane < 4; ++lane) {
      const double value = static_cast<double>(mean[k + lane]);
      squares[lane] += value * value;
    }
  }
  for (; k < dims; ++k) squares[0] += static_cast<double>(mean[k]) * static_cast<double>(mean[k]);
  const double square = (squares[0] + squares[1]) + (squares[2] + squares[3]);
  const double scale = square > 0 ? 1 / std::sqrt(square) : 0;
  for (k = 0; k < dims; ++k) {
    row[k] = static_cast<float>(static_cast<double>(mean[k]) * scale) + 0.0f;
  }
  return scale != 0;
}

void NormalizeRows_portable(float* rows, size_t count, size_t dims) {
  for (size_t i = 0; i < count; ++i) NormalizeRow_portable(rows + i * dims, dims, rows + i * dims);
}

}  // namespace longvlm
