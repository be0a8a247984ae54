// The token of B most similar to each token of A: the product of A and B-transposed in float32,
// fused with the arg-max, so that the similarity matrix is never stored.
//   a      one panel of A, [dims, width_a] float32: column i is a row of the metric, of length 1
//   b      all of B in panels, [ceil(num_b / width_b), dims, width_b] float32; the padding of the
//          last panel is ignored
//   best   [width_a] float32, out: the highest similarity of each column of a
//   index  [width_a] int32, out: the row of B that has it
// Range: num_b >= 1, dims >= 1, values finite; width_a and width_b are the instruction set's own
// (Kernels); a, b, best and index need no alignment and do not overlap.
// Ties: the lowest index wins.   Work: 2 width_a num_b dims flops; reads b once for each panel of
// A; no workspace. Error: none between instruction sets: for every pair one chain of fused
// multiply-adds in float32 over ascending dims, from 0, at any position in a panel. Source: Bolya
// et al. 2023 (ToMe) section 3; LongVLM (arXiv 2404.03384) section 3.2. Differs: defined for ties.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longvlm {

void BestMatch_portable(const float* a, const float* b, size_t num_b, size_t dims, float* best,
                        int32_t* index);
void BestMatch_avx2(const float* a, const float* b, size_t num_b, size_t dims, float* best,
                    int32_t* index);
void BestMatch_avx512(const float* a, const float* b, size_t num_b, size_t dims, float* best,
                      int32_t* index);
void BestMatch_neon(const float* a, const float* b, size_t num_b, size_t dims, float* best,
                    int32_t* index);

}  // namespace longvlm
