// Selects by 16-bit arithmetic which tokens of B can be the most similar to tokens of A. This is a
// fraction of the work of the float32 product, which is then computed only for the selected pairs.
//   a      one panel of A, [ceil(dims / 2), width_a]: values 2k and 2k + 1 of a row, scaled by
//          kScreenScale and rounded, as the low and the high 16 bits (an odd dims is padded by 0)
//   b      panels of B, [panels, ceil(dims / 2), width_b], likewise
//   found  [max_pairs], out: a column of a and a row of b, rows of one panel before those of the
//   next
// Returns the number of pairs, or max_pairs + 1 when there are more. Of each column whose bit is
// set in `columns`, every row of b whose integer product with that column is at least the column's
// highest, less `margin`; rows that pad the last panel are rows like others.
// Range: 1 <= panels <= kScreenMaxPanels, margin >= 0, |value| <= kScreenScale; no alignment; 8
// values beyond b may be read.   Ties: all of them are given.   Work: panels width_a width_b dims
// multiply-adds, and few more for each pair; workspace of kScreenMaxPanels width_a 4 bytes on the
// stack.
// Error: none, integers. A sum of products of two rows q and p is at most |q| |p|, and so is every
// partial sum; scaled rows are at most kScreenScale + sqrt(dims) / 2 long, so 32 bits are enough
// for every dims below 10^8. Source: ours. See core/matching.cc for the margin that makes it exact.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/row_integers.h"
#include "kernels/similarities.h"

namespace longvlm {

inline constexpr size_t kScreenMaxPanels = 256;

size_t ScreenMatches_portable(const int32_t* a, const int32_t* b, size_t panels, size_t dims,
                              int32_t margin, uint32_t columns, RowPair* found, size_t max_pairs);
size_t ScreenMatches_avx2(const int32_t* a, const int32_t* b, size_t panels, size_t dims,
                          int32_t margin, uint32_t columns, RowPair* found, size_t max_pairs);
size_t ScreenMatches_avx512(const int32_t* a, const int32_t* b, size_t panels, size_t dims,
                            int32_t margin, uint32_t columns, RowPair* found, size_t max_pairs);

}  // namespace longvlm
