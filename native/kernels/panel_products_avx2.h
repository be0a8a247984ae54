// The inner loop of the products of a panel of A with rows of B, on AVX2.
#pragma once

#include "kernels/dispatch.h"
#include "kernels/panels.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

namespace longvlm {

// Calls visit(row, left, right) for every row of B in ascending order, with its products with the
// columns 0 to 7 and 8 to 15 of the panel.
template <typename Visit>
LONGVLM_TARGET_AVX2 inline void ForProductsAvx2(const float* a, const float* b, size_t num_b,
                                                size_t dims, Visit& visit) {
  constexpr size_t kA = kPanelWidthAAvx2;
  constexpr size_t kB = kPanelWidthBAvx2;
  for (size_t first = 0; first < num_b; first += kB, b += dims * kB) {
    __m256 l0 = _mm256_setzero_ps(), l1 = l0, l2 = l0, l3 = l0, l4 = l0, l5 = l0;
    __m256 r0 = l0, r1 = l0, r2 = l0, r3 = l0, r4 = l0, r5 = l0;
    const float* a_row = a;
    const float* b_row = b;
    for (size_t k = 0; k < dims; ++k, a_row += kA, b_row += kB) {
      const __m256 a_left = _mm256_loadu_ps(a_row);
      const __m256 a_right = _mm256_loadu_ps(a_row + 8);
      __m256 one = _mm256_broadcast_ss(b_row);
      l0 = _mm256_fmadd_ps(a_left, one, l0);
      r0 = _mm256_fmadd_ps(a_right, one, r0);
      one = _mm256_broadcast_ss(b_row + 1);
      l1 = _mm256_fmadd_ps(a_left, one, l1);
      r1 = _mm256_fmadd_ps(a_right, one, r1);
      one = _mm256_broadcast_ss(b_row + 2);
      l2 = _mm256_fmadd_ps(a_left, one, l2);
      r2 = _mm256_fmadd_ps(a_right, one, r2);
      one = _mm256_broadcast_ss(b_row + 3);
      l3 = _mm256_fmadd_ps(a_left, one, l3);
      r3 = _mm256_fmadd_ps(a_right, one, r3);
      one = _mm256_broadcast_ss(b_row + 4);
      l4 = _mm256_fmadd_ps(a_left, one, l4);
      r4 = _mm256_fmadd_ps(a_right, one, r4);
      one = _mm256_broadcast_ss(b_row + 5);
      l5 = _mm256_fmadd_ps(a_left, one, l5);
      r5 = _mm256_fmadd_ps(a_right, one, r5);
    }
    const __m256 lefts[kB] = {l0, l1, l2, l3, l4, l5};
    const __m256 rights[kB] = {r0, r1, r2, r3, r4, r5};
    for (size_t j = 0; j < kB && first + j < num_b; ++j) visit(first + j, lefts[j], rights[j]);
  }
}

}  // namespace longvlm

#endif  // LONGVLM_X86
