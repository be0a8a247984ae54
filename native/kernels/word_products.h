// The products of rows of 16-bit integers with each other: what tells which of the float32 products
// (products.h) can be the highest, at a fraction of their work.
//   a, b     [count_a], [count_b]: rows of integers by ScaleWords (row_integers.h), which are
//            anywhere, padded by zeros to a multiple of kWordsAtOnce
//   product  [count_a, stride], out: value [i, j] is the product of a[i] and b[j]; stride >=
//   count_b
// Range: counts >= 1, dims >= 1, sums below 2^31 (screen_matches.h); no alignment, but rows that
// begin at a multiple of 64 bytes take less time; product overlaps nothing.   Ties: none.
// Work: 2 count_a count_b dims integer operations; no workspace. Error: none, integers.
// Source: ours. See core/screen_margin.h for the margin that makes a choice by them exact.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longvlm {

inline constexpr size_t kWordsAtOnce = 32;

void WordProducts_portable(const int16_t* const* a, size_t count_a, const int16_t* const* b,
                           size_t count_b, size_t dims, int32_t* product, size_t stride);
void WordProducts_avx2(const int16_t* const* a, size_t count_a, const int16_t* const* b,
                       size_t count_b, size_t dims, int32_t* product, size_t stride);
void WordProducts_avx512(const int16_t* const* a, size_t count_a, const int16_t* const* b,
                         size_t count_b, size_t dims, int32_t* product, size_t stride);

}  // namespace longvlm
