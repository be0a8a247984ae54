#include "core/frame_means.h"

#include <algorithm>
#include <span>

#include "core/row_means.h"

namespace longvlm {

namespace {

constexpr size_t kColumns = 512;

size_t ColumnBlocks(const Shape& shape) { return (shape.width + kColumns - 1) / kColumns; }

// Some of the columns of a frame's mean, out [width].
void MeanOfColumns(ConstValues tokens, const Shape& shape, std::span<const size_t> offsets,
                   size_t frame, size_t block, float* out) {
  const Kernels& kernels = ActiveKernels();
  const size_t first = block * kColumns;
  const size_t columns = std::min(kColumns, shape.width - first);
  double sum[kColumns];
  Visit(tokens, [&](const auto* values) {
    SumRows(kernels, values + frame * shape.rows * shape.width + first, offsets.data(), nullptr,
            shape.rows, columns, sum);
  });
  CheckFinite(sum, columns);
  StoreMeans(kernels, sum, static_cast<double>(shape.rows), columns, out + first);
}

std::vector<size_t> RowOffsets(const Shape& shape) {
  std::vector<size_t> offsets(shape.rows);
  for (size_t row = 0; row < shape.rows; ++row) offsets[row] = row * shape.width;
  return offsets;
}

}  // namespace

void FrameMean(ConstValues tokens, const Shape& shape, size_t frame, const Workers& workers,
               float* out) {
  const std::vector<size_t> offsets = RowOffsets(shape);
  workers.For(ColumnBlocks(shape),
              [&](size_t block) { MeanOfColumns(tokens, shape, offsets, frame, block, out); });
}

void FrameMeans(ConstValues tokens, const Shape& shape, const Workers& workers,
                std::vector<float>& out) {
  const std::vector<size_t> offsets = RowOffsets(shape);
  const size_t blocks = ColumnBlocks(shape);
  out.resize(shape.batch * shape.width);
  workers.For(shape.batch * blocks, [&](size_t i) {
    MeanOfColumns(tokens, shape, offsets, i / blocks, i % blocks,
                  out.data() + i / blocks * shape.width);
  });
}

}  // namespace longvlm
