// Scales a row to length 1.
//   mean [dims] float32; row [dims] float32, out; may be the same memory; no alignment
// Returns false for a zero row, which stays zero.
// Range: dims >= 1, values finite. No value of row is -0, so that rows are equal when their bits
// are.   Ties: none.   Work: two passes over the row; no workspace. Error: none between instruction
// sets: squares are added in float64 in four sums, value k to sum k % 4 (what is beyond the last
// multiple of 4 to sum 0), then (s0 + s1) + (s2 + s3); each value is multiplied by 1 / sqrt of that
// sum in float64 and rounded to float32. Source: Bolya et al. 2023 (ToMe) section 3, cosine
// similarity.
#pragma once

#include <cmath>
#include <cstddef>

namespace longvlm {

// The two passes by themselves. RowSquares: squares [count], the sum of squares of each of some
// rows, which are anywhere; NaN and infinity pass into it. ScaleRow: row [dims] = from [dims] times
// InverseLength(square).
void RowSquares_portable(const float* const* rows, size_t count, size_t dims, double* squares);
void RowSquares_avx2(const float* const* rows, size_t count, size_t dims, double* squares);
void ScaleRow_portable(const float* from, size_t dims, double scale, float* row);
void ScaleRow_avx2(const float* from, size_t dims, double scale, float* row);

// 0 for a zero row.
inline double InverseLength(double square) { return square > 0 ? 1 / std::sqrt(square) : 0; }

// NormalizeRows does so to each of `count` rows [count, dims], in place.
void NormalizeRows_portable(float* rows, size_t count, size_t dims);
void NormalizeRows_avx2(float* rows, size_t count, size_t dims);
void NormalizeRows_neon(float* rows, size_t count, size_t dims);

bool NormalizeRow_portable(const float* mean, size_t dims, float* row);
bool NormalizeRow_avx2(const float* mean, size_t dims, float* row);
bool NormalizeRow_neon(const float* mean, size_t dims, float* row);

}  // namespace longvlm
