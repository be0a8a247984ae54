// The products of the rows of a panel of A with rows of B: what best_match.h folds into an arg-max,
// for callers that need more of it: the nearest few, the nearest of some, a whole row.
//   a        one panel of A, [dims, width_a] float32: column i is a row
//   b        rows of B in panels, [ceil(num_b / width_b), dims, width_b] float32; the padding of
//            the last panel is ignored
//   product  [num_b, width_a] float32, out
// Range: num_b >= 1, dims >= 1; width_a and width_b are the instruction set's own (Kernels); no
// alignment; product overlaps nothing.   Ties: none.   Work: 2 width_a num_b dims flops; reads b
// once; no workspace. Error: none between instruction sets, nor against similarities.h: for every
// pair one chain of fused multiply-adds in float32 over ascending dims, from 0. The product of two
// rows is the same whichever of them is in A.
// Source: Bolya et al. 2023 (ToMe) section 3.
#pragma once

#include <cstddef>

namespace longvlm {

void Products_portable(const float* a, const float* b, size_t num_b, size_t dims, float* product);
void Products_avx2(const float* a, const float* b, size_t num_b, size_t dims, float* product);
void Products_avx512(const float* a, const float* b, size_t num_b, size_t dims, float* product);
void Products_neon(const float* a, const float* b, size_t num_b, size_t dims, float* product);

}  // namespace longvlm
