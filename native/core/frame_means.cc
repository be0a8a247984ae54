#include "core/frame_means.h"

#include <algorithm>

#include "core/row_means.h"

namespace longvlm {

void FrameMeans(ConstValues tokens, const Shape& shape, const Workers& workers,
                std::vector<float>& out) {
  const Kernels& kernels = ActiveKernels();
  constexpr size_t kColumns = 512;
  std::vector<size_t> offsets(shape.rows);
  for (size_t row = 0; row < shape.rows; ++row) offsets[row] = row * shape.width;
  out.resize(shape.batch * shape.width);
  const size_t blocks = (shape.width + kColumns - 1) / kColumns;
  workers.For(shape.batch * blocks, [&](size_t i) {
    const size_t frame = i / blocks;
    const size_t first = i % blocks * kColumns;
    const size_t columns = std::min(kColumns, shape.width - first);
    double sum[kColumns];
    Visit(tokens, [&](const auto* values) {
      SumRows(kernels, values + frame * shape.rows * shape.width + first, offsets.data(), nullptr,
              shape.rows, columns, sum);
    });
    CheckFinite(sum, columns);
    StoreMeans(kernels, sum, static_cast<double>(shape.rows), columns,
               out.data() + frame * shape.width + first);
  });
}

}  // namespace longvlm
