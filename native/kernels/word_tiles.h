// Products of many rows, from those of a tile of a few rows of A and a few rows of B, whose sums
// fill an instruction set's registers.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace longvlm {

// Adds to product [rows of A, stride] the products of values `first` to `last` - 1.
using WordTile = void (*)(const int16_t* const* a, const int16_t* const* b, size_t first,
                          size_t last, int32_t* product, size_t stride);

// `tiles` has those of 1 to kRowsA rows of A with 1 to kRowsB rows of B, the latter together.
template <size_t kRowsA, size_t kRowsB>
void MultiplyByTiles(const std::array<WordTile, kRowsA * kRowsB>& tiles, const int16_t* const* a,
                     size_t count_a, const int16_t* const* b, size_t count_b, size_t dims,
                     int32_t* product, size_t stride) {
  // So much of the rows of a tile stays in the first-level cache.
  constexpr size_t kWords = 1024;
  for (size_t i = 0; i < count_a; ++i) std::fill_n(product + i * stride, count_b, 0);
  for (size_t first = 0; first < dims; first += kWords) {
    const size_t last = std::min(first + kWords, dims);
    const auto multiply = [&](size_t i, size_t j) {
      const size_t rows_a = std::min(kRowsA, count_a - i);
      const size_t rows_b = std::min(kRowsB, count_b - j);
      tiles[(rows_a - 1) * kRowsB + rows_b - 1](a + i, b + j, first, last, product + i * stride + j,
                                                stride);
    };
    // Those of which a tile has more rows stay while the others pass.
    if constexpr (kRowsA >= kRowsB) {
      for (size_t i = 0; i < count_a; i += kRowsA) {
        for (size_t j = 0; j < count_b; j += kRowsB) multiply(i, j);
      }
    } else {
      for (size_t j = 0; j < count_b; j += kRowsB) {
        for (size_t i = 0; i < count_a; i += kRowsA) multiply(i, j);
      }
    }
  }
}

}  // namespace longvlm
