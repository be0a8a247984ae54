// What VidCom2 looks at: some of a token's channels, sums of channels over tokens, and sums of
// distances over channels.
//
// SelectChannels: out = the values of the row whose bit is set in `chosen`, in their order.
//   row      [width] float32; no alignment     chosen  [ceil(width / 16)]: bit i of number g is
//   that of channel 16 g + i; none beyond the row   out     [bits set + 7] float32; what is behind
//   the values has no meaning
// AddMoments: sums[c] += x, squares[c] += x x over the rows in ascending order.
//   rows     [count] rows of `width` float32, `stride` values apart; no alignment
//   sums     [width] float64, in and out     squares  [width] float64, in and out
// AddScaledRows: sums[c] += x times the row's scale, rounded to float32, in the same order.
//   scales   [count] float64; rows and sums as above
// SquaredDistances: of each row from each centre, the sum over c in ascending order of (the same
// rounded product - centre[c])^2.
//   centres  [dims] float64 each    squares  [2, count] float64, out
// Range: any; buffers do not overlap. NaN and infinity pass into the sums.   Ties: none.
// Work: 3, 3 and 8 count width flops; no workspace.   Error: none between instruction sets: plain
// arithmetic in float64, each sum in one chain. Source: ours; VidCom2's scores in
// core/gaussian_scores.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longvlm {

// Two centres that distances are measured from.
struct Centres {
  const double* first;
  const double* second;
};

void SelectChannels_portable(const float* row, const uint16_t* chosen, size_t width, float* out);
void SelectChannels_avx2(const float* row, const uint16_t* chosen, size_t width, float* out);
void SelectChannels_avx512(const float* row, const uint16_t* chosen, size_t width, float* out);
void AddMoments_portable(const float* rows, size_t stride, size_t count, size_t width, double* sums,
                         double* squares);
void AddMoments_avx2(const float* rows, size_t stride, size_t count, size_t width, double* sums,
                     double* squares);
void AddScaledRows_portable(const float* rows, size_t stride, const double* scales, size_t count,
                            size_t width, double* sums);
void AddScaledRows_avx2(const float* rows, size_t stride, const double* scales, size_t count,
                        size_t width, double* sums);
void SquaredDistances_portable(const float* rows, size_t stride, const double* scales, size_t count,
                               Centres centres, size_t dims, double* squares);
void SquaredDistances_avx2(const float* rows, size_t stride, const double* scales, size_t count,
                           Centres centres, size_t dims, double* squares);

}  // namespace longvlm
