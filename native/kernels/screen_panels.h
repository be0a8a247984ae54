// Selects by 8-bit arithmetic which panels of B can hold the token that is the most similar to a
// token of A. This is half the work of the 16-bit products, which then are computed only for the
// selected panels.
//   a        one panel of A, [ceil(dims / 4), width_a]: values 4k to 4k + 3 of a row by RowBytes
//            with kBytesOfA, the first in the lowest bits
//   b        panels of B, [panels, ceil(dims / 4), width_b], likewise, without kBytesOfA
//   start    [panels * width_b]: for each row of b, -128 times the sum of its integers, which takes
//            away what kBytesOfA adds
//   margins  [width_a], at least 0
//   hits     [panels], out: bit i tells that the panel holds a row whose integer product with
//            column i is at least the column's highest, less margins[i]; only of the columns
//            whose bit is set in `columns`
// Returns the number of bits set. Rows that pad the last panel are rows like others.
// Range: 1 <= panels <= kScreenMaxPanels, 1 <= dims <= kScreenMaxByteDims; no alignment.
// Ties: all of them are given.   Work: panels width_a width_b dims multiply-adds; workspace of
// kScreenMaxPanels width_a 4 bytes on the stack.
// Error: none, integers. A sum and every part of it is below 2 * 255 * 128 dims < 2^31.
// Source: ours. See core/screen_margin.h for the margins that make it exact.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longvlm {

inline constexpr size_t kScreenMaxByteDims = 16384;

size_t ScreenPanels_avxvnni(const int32_t* a, const int32_t* b, const int32_t* start, size_t panels,
                            size_t dims, const int32_t* margins, uint32_t columns, uint32_t* hits);
size_t ScreenPanels_avx512(const int32_t* a, const int32_t* b, const int32_t* start, size_t panels,
                           size_t dims, const int32_t* margins, uint32_t columns, uint32_t* hits);

}  // namespace longvlm
