// The layout of rows for the products of A and B: panels of a few rows, interleaved value by value,
// so that a kernel reads the same value of all rows of a panel at once.
//   A  [ceil(rows / width_a), dims, width_a]      B  [ceil(rows / width_b), dims, width_b]
// The widths are an instruction set's own: width_a * width_b sums fill its registers.
#pragma once

#include <cstddef>

namespace longvlm {

inline constexpr size_t kPanelWidthAPortable = 8;
inline constexpr size_t kPanelWidthBPortable = 4;
// 12 sums of 8 lanes, 2 of A, 1 of B and 1 for a product fill the 16 registers.
inline constexpr size_t kPanelWidthAAvx2 = 16;
inline constexpr size_t kPanelWidthBAvx2 = 6;
// 24 sums of 16 lanes, 2 of A and 1 of B, of 32 registers.
inline constexpr size_t kPanelWidthAAvx512 = 32;
inline constexpr size_t kPanelWidthBAvx512 = 12;
// 24 sums of 4 lanes, 3 of A and 2 of B, whose lanes are multiplied directly, of 32 registers.
inline constexpr size_t kPanelWidthANeon = 12;
inline constexpr size_t kPanelWidthBNeon = 8;

}  // namespace longvlm
