// Rows of a tensor of any float type as float32.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "core/metric.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "kernels/dispatch.h"

namespace longvlm {

class RowReader {
 public:
  RowReader(ConstValues values, size_t width, const Kernels& kernels)
      : args_{values, {1, 1, width}, 1, nullptr}, kernels_(kernels) {}

  // `count` rows from row `first` on, out [count, width]. Throws NotFinite.
  void Read(size_t first, size_t count, float* out) const {
    ReadMetricRows(args_, kernels_, first, count, out);
  }
  // The same on all threads; throws Cancelled, too.
  void Read(size_t first, size_t count, float* out, const Workers& workers) const {
    constexpr size_t kRowsPerBlock = 64;
    workers.For((count + kRowsPerBlock - 1) / kRowsPerBlock, [&](size_t block) {
      const size_t from = block * kRowsPerBlock;
      Read(first + from, std::min(kRowsPerBlock, count - from), out + from * args_.shape.width);
    });
  }
  bool is_float32() const { return args_.tokens.type == ElementType::kFloat32; }
  // The values of a row where they are float32, else in `scratch`, which holds a row; unchecked.
  const float* Row(size_t row, float* scratch) const {
    return Visit(args_.tokens, [&](const auto* tokens) -> const float* {
      const auto* from = tokens + row * args_.shape.width;
      if constexpr (std::is_same_v<decltype(from), const float*>) {
        return from;
      } else {
        kernels_.token_metric_f16(from, 1, 1, args_.shape.width, scratch);
        return scratch;
      }
    });
  }
  // The same as Read on all threads, each row scaled to length 1; a zero row stays zero.
  void ReadUnits(size_t first, size_t count, float* out, const Workers& workers) const {
    constexpr size_t kRowsPerBlock = 16;
    const size_t width = args_.shape.width;
    workers.For((count + kRowsPerBlock - 1) / kRowsPerBlock, [&](size_t block) {
      const size_t from = block * kRowsPerBlock;
      const size_t rows = std::min(kRowsPerBlock, count - from);
      Read(first + from, rows, out + from * width);
      kernels_.normalize_rows(out + from * width, rows, width);
    });
  }

 private:
  TokenMetricArgs args_;
  const Kernels& kernels_;
};

}  // namespace longvlm
