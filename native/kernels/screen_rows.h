// Selects by 16-bit arithmetic, within the panels that ScreenPanels has selected, which rows of B
// can be the most similar to tokens of A.
//   a, b, margin, found   as ScreenMatches has them (screen_matches.h)
//   hits                  [panels]: bit i tells that column i is compared with the panel
// Returns the number of pairs, or max_pairs + 1 when there are more: of each column, every row of
// the panels it is compared with whose integer product is at least the highest of these, less
// `margin`. Pairs are in ascending order of columns, then of rows.
// Range, ties, error, source: as ScreenMatches.   Work: dims multiply-adds for each row of a panel
// and bit of `hits`; workspace of kScreenMaxPanels 16 4 bytes on the stack.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/similarities.h"

namespace longvlm {

size_t ScreenRows_avx2(const int32_t* a, const int32_t* b, const uint32_t* hits, size_t panels,
                       size_t dims, int32_t margin, RowPair* found, size_t max_pairs);
size_t ScreenRows_avx512(const int32_t* a, const int32_t* b, const uint32_t* hits, size_t panels,
                         size_t dims, int32_t margin, RowPair* found, size_t max_pairs);

}  // namespace longvlm
