// A row as integers, for screening, and the largest magnitude of values, which decides the scale of
// 8-bit integers. Integers are the nearest to row[k] scale, that product in float32.
//   row     [dims] float32; no alignment
//   out     [ceil(dims / n), stride] 32-bit integers, of which the first of each row of `stride` is
//           written: the next n integers, the first in the lowest bits; 0 beyond dims
// RowWords: n = 2 16-bit integers, scaled by kScreenScale.
// ScaleWords: row-major 16-bit integers, out [dims], and 0 up to a multiple of kWordsAtOnce.
//   scale   at least 0, |row[k]| scale < 32767.5
//   Returns the sum of the squares of what rounding took away, as RowBytes does.
// RowBytes: n = 4 8-bit integers.
//   scale   above 0, |row[k]| scale < 127.5
//   flip    0, or kBytesOfA: bytes are then unsigned, the integers + 128
//   Returns the sum of the integers, and the sum of the squares of what rounding took away: of
//   t - q, where t = row[k] scale in float32 and q is the integer nearest to t.
// Range: dims >= 1, values finite, for RowWords within 1.   Ties: to even.   Work: one pass over
// the row; no workspace. Error: integers are exact; squares are added in float32 in any order.
// Source: ours.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longvlm {

inline constexpr float kScreenScale = 32767;
inline constexpr uint8_t kBytesOfA = 0x80;

struct ByteRounding {
  int32_t sum;
  float squares;
};

void RowWords_portable(const float* row, size_t dims, int32_t* out, size_t stride);
void RowWords_avx2(const float* row, size_t dims, int32_t* out, size_t stride);
float ScaleWords_portable(const float* row, float scale, size_t dims, int16_t* out);
float ScaleWords_avx2(const float* row, float scale, size_t dims, int16_t* out);

ByteRounding RowBytes_avx2(const float* row, size_t dims, float scale, uint8_t flip, int32_t* out,
                           size_t stride);

// The largest of |values[i]|, 0 for none.
float LargestMagnitude_avx2(const float* values, size_t count);

}  // namespace longvlm
