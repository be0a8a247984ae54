// The products of the rows of a panel of A with rows of B, both as 16-bit integers: what tells
// which of the float32 products (products.h) can be the highest, at a fraction of their work.
//   a        one panel of A, [ceil(dims / 2), width_a]: values 2k and 2k + 1 of a row as the low
//   and
//            the high 16 bits (row_integers.h; an odd dims is padded by 0)
//   b        panels of B, [panels, ceil(dims / 2), width_b], likewise
//   columns  how many of the columns of a are wanted, from the first on
//   product  [panels * width_b, width_a], out; values of other columns have no meaning
// Range: panels >= 1, dims >= 1, 1 <= columns <= width_a, sums below 2^31 (screen_matches.h); no
// alignment; product overlaps nothing.   Ties: none.   Work: 2 width_a panels width_b dims integer
// operations, half of it for few columns; no workspace.   Error: none, integers.
// Source: ours. See core/screen_margin.h for the margin that makes a choice by them exact.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longvlm {

void WordProducts_portable(const int32_t* a, const int32_t* b, size_t panels, size_t dims,
                           size_t columns, int32_t* product);
void WordProducts_avx2(const int32_t* a, const int32_t* b, size_t panels, size_t dims,
                       size_t columns, int32_t* product);
void WordProducts_avx512(const int32_t* a, const int32_t* b, size_t panels, size_t dims,
                         size_t columns, int32_t* product);

}  // namespace longvlm
