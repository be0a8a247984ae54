// Sums of rows, and their means: of the heads of a token, of the tokens of a slot, of frames.
//
// SumRows: sum[c] = over r in ascending order, weights[r] * base[offsets[r] + c].
//   base     float32, float64, or float16 bits; read at base + offsets[r], width values each; no
//   alignment weights  [count] float32, or null for 1 sum      [width] float64, out
// StoreMeans: out[c] = sum[c] / divisor, rounded to float32 and, for float16, then to nearest half.
//   out      [width] float32 or float16 bits; no alignment
// Range: count >= 1, width >= 0, divisor > 0; buffers do not overlap. NaN and infinity pass into
// sum. Ties: none.   Work: count * width additions, bound by the one read of the rows; no
// workspace. Error: none between instruction sets. float64 holds the product of two float32
// exactly, so a fused multiply-add rounds
//   as the two operations do; and sums of up to 2^29 float32 of like size are exact, so the mean of
//   equal rows is the row.
// Source: LongVLM (arXiv 2404.03384) section 3.2, the means in float64 instead of level by level in
// float32.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longvlm {

void SumRowsF32_portable(const float* base, const size_t* offsets, const float* weights,
                         size_t count, size_t width, double* sum);
void SumRowsF16_portable(const uint16_t* base, const size_t* offsets, const float* weights,
                         size_t count, size_t width, double* sum);
void SumRowsF64_portable(const double* base, const size_t* offsets, const float* weights,
                         size_t count, size_t width, double* sum);
void StoreMeansF32_portable(const double* sum, double divisor, size_t width, float* out);
void StoreMeansF16_portable(const double* sum, double divisor, size_t width, uint16_t* out);

void SumRowsF32_avx2(const float* base, const size_t* offsets, const float* weights, size_t count,
                     size_t width, double* sum);
void SumRowsF16_avx2(const uint16_t* base, const size_t* offsets, const float* weights,
                     size_t count, size_t width, double* sum);
void SumRowsF64_avx2(const double* base, const size_t* offsets, const float* weights, size_t count,
                     size_t width, double* sum);
void StoreMeansF32_avx2(const double* sum, double divisor, size_t width, float* out);
void StoreMeansF16_avx2(const double* sum, double divisor, size_t width, uint16_t* out);

void SumRowsF32_neon(const float* base, const size_t* offsets, const float* weights, size_t count,
                     size_t width, double* sum);
void SumRowsF16_neon(const uint16_t* base, const size_t* offsets, const float* weights,
                     size_t count, size_t width, double* sum);
void SumRowsF64_neon(const double* base, const size_t* offsets, const float* weights, size_t count,
                     size_t width, double* sum);
void StoreMeansF32_neon(const double* sum, double divisor, size_t width, float* out);
void StoreMeansF16_neon(const double* sum, double divisor, size_t width, uint16_t* out);

}  // namespace longvlm
