// The product of two rows in float64; and the product of a row with itself and with another, in one
// read of it.
//   a [dims] float32      b [dims] float32; may be the same row; no alignment
// Range: dims >= 0. NaN and infinity pass into the result.   Ties: none.   Work: 2 dims flops,
// bound by the read of the rows; no workspace. Error: none between instruction sets: products of
// two float32 are exact in float64 and are added in eight sums, value k to sum k % 8 (what is
// beyond the last multiple of 8 to sum 0), then ((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7)).
// Source: ours; cosines and lengths of tokens, where one float32 chain would be too coarse.
#pragma once

#include <cstddef>

namespace longvlm {

struct SquareAndProduct {
  double square;   // a a
  double product;  // a b
};

double DotProduct_portable(const float* a, const float* b, size_t dims);
double DotProduct_avx2(const float* a, const float* b, size_t dims);
double DotProduct_neon(const float* a, const float* b, size_t dims);

SquareAndProduct SquareAndProduct_portable(const float* a, const float* b, size_t dims);
SquareAndProduct SquareAndProduct_avx2(const float* a, const float* b, size_t dims);
SquareAndProduct SquareAndProduct_avx512(const float* a, const float* b, size_t dims);
SquareAndProduct SquareAndProduct_neon(const float* a, const float* b, size_t dims);

}  // namespace longvlm
