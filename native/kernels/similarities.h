// The similarities of some pairs of rows.
//   a [*, dims] float32      b [*, dims] float32      pairs [count]: a row of each
//   similarity [count] float32, out; overlaps nothing      No alignment.
// Range: dims >= 1, values finite; count may be 0.   Ties: none.   Work: 2 count dims flops; no
// workspace.
// Error: none between instruction sets, nor against best_match.h: for every pair one chain of fused
// multiply-adds in float32 over ascending dims, from 0.
// Source: Bolya et al. 2023 (ToMe) section 3.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longvlm {

struct RowPair {
  uint32_t row_of_a;
  uint32_t row_of_b;
};

void Similarities_portable(const float* a, const float* b, const RowPair* pairs, size_t count,
                           size_t dims, float* similarity);
void Similarities_avx2(const float* a, const float* b, const RowPair* pairs, size_t count,
                       size_t dims, float* similarity);

}  // namespace longvlm
