// What VidCom2 looks at: some of a token's channels, sums of channels over tokens, and sums of
// distances over channels.
//
// SelectChannels: out = the values of the row whose bit is set in `chosen`, in their order.
//   row      [width] float32; no alignment     chosen  [ceil(width / 16)]: bit i of number g is
//   that of channel 16 g + i; none beyond the row   out     [bits set] float32
// AddMoments: sums[c] += x, squares[c] += x x over the rows in ascending order.
//   rows     [count] rows of `width` float32, `stride` values apart; no alignment
//   sums     [width] float64, in and out     squares  [width] float64, in and out
// SquaredDistances: squares[i] = the sum over c in ascending order of (x_i[c] - centre[c])^2.
//   panel    [dims, 8] float32: column i is token i     centre   [dims] float64
//   squares  [8] float64, out
// Range: any; buffers do not overlap. NaN and infinity pass into the sums.   Ties: none.
// Work: 3 count width and 24 dims flops; no workspace.   Error: none between instruction sets:
// plain arithmetic in float64, each sum in one chain. Source: ours; VidCom2's scores in
// core/gaussian_scores.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longvlm {

inline constexpr size_t kTokensOfPanel = 8;

void SelectChannels_portable(const float* row, const uint16_t* chosen, size_t width, float* out);
void SelectChannels_avx512(const float* row, const uint16_t* chosen, size_t width, float* out);
void AddMoments_portable(const float* rows, size_t stride, size_t count, size_t width, double* sums,
                         double* squares);
void AddMoments_avx2(const float* rows, size_t stride, size_t count, size_t width, double* sums,
                     double* squares);
void SquaredDistances_portable(const float* panel, const double* centre, size_t dims,
                               double* squares);
void SquaredDistances_avx2(const float* panel, const double* centre, size_t dims, double* squares);

}  // namespace longvlm
