// How far the integer product of the most similar row can be below the highest integer product: the
// bounds that make screening exact.
//
// For each row a of A, the chain of float32 multiply-adds (similarities.h) decides. Rows are of
// length 1 (within 2^-22), and each of its steps rounds by at most 2^-24, so that for up to 2^20
// dims the chain is within C = 1.125 dims 2^-24 of a b. Chosen is the row of B with the highest
// chain or, even where rounding puts another's chain above its own, a row equal to a: its chain is
// within 2 (C + 2^-21) of the highest.
//
// Let the integers q_a and q_b stand for s_a a and s_b b, and let no product q_a q_b be further
// than D from s_a s_b a b. Then, in units of the integer products, the chain of every row is within
//   E = D + C s_a s_b
// of its integer product, and the row that is chosen, whichever it is, has an integer product of at
// least the highest less
//   2 E + 2 (C + 2^-21) s_a s_b,
// which is the margin. It holds among any rows of B that the row chosen is one of: so integers of
// 16 bits may decide among those that integers of 8 bits have left.
//
// Words may come from a row before it was scaled to length 1, by a factor of s / length in float32:
// that they stand for s a still holds, as s a is then off by at most 3 s 2^-24.
//
// With x = s_a a - q_a and y = s_b b - q_b, what rounding took away,
//   s_a a s_b b - q_a q_b = x (s_b b) + q_a y,   so   D = |x| s_b |b| + (s_a |a| + |x|) |y|.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longvlm {

// Of 16-bit integers: all rows have the scale kScreenScale. No value of x or y is beyond 0.51 (0.5,
// and the rounding of s a in float32, at most three times), so these are no longer than 0.51
// sqrt(dims).
double WordMargin(size_t dims);

// The same, of rows of which ScaleWords has returned at most so many squares: |x| and |y| are
// computed from these, as they are for 8 bits. t is within 4 * 2^-24 of a share of s a. For up to
// 2^20 dims.
int32_t WordMargin(float squares_a, float squares_b, size_t dims);

// The scale of a row, and the sum of squares that RowBytes has returned.
struct ByteScale {
  float scale;
  float squares;
};

// Of 8-bit integers, for up to kScreenMaxByteDims; `b` has the most squares of all rows of B. |x|
// and |y| are computed from the squares of t - q, which float32 holds exactly; t is within
// 128 * 2^-24 of s a, and the sum of squares within a share of dims 2^-23. Below 2^30.
int32_t ByteMargin(const ByteScale& a, const ByteScale& b, size_t dims);

}  // namespace longvlm
