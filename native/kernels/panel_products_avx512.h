// The inner loop of the products of a panel of A with rows of B, on AVX-512.
#pragma once

#include "kernels/dispatch.h"
#include "kernels/panels.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

namespace longvlm {

// Calls visit(row, left, right) for every row of B in ascending order, with its products with the
// columns 0 to 15 and 16 to 31 of the panel.
template <typename Visit>
LONGVLM_TARGET_AVX512 inline void ForProductsAvx512(const float* a, const float* b, size_t num_b,
                                                    size_t dims, Visit& visit) {
  constexpr size_t kA = kPanelWidthAAvx512;
  constexpr size_t kB = kPanelWidthBAvx512;
  for (size_t first = 0; first < num_b; first += kB, b += dims * kB) {
    __m512 lefts[kB], rights[kB];
    for (size_t j = 0; j < kB; ++j) lefts[j] = rights[j] = _mm512_setzero_ps();
    const float* a_row = a;
    const float* b_row = b;
    for (size_t k = 0; k < dims; ++k, a_row += kA, b_row += kB) {
      const __m512 a_left = _mm512_loadu_ps(a_row);
      const __m512 a_right = _mm512_loadu_ps(a_row + 16);
      for (size_t j = 0; j < kB; ++j) {
        const __m512 one = _mm512_set1_ps(b_row[j]);
        lefts[j] = _mm512_fmadd_ps(a_left, one, lefts[j]);
        rights[j] = _mm512_fmadd_ps(a_right, one, rights[j]);
      }
    }
    for (size_t j = 0; j < kB && first + j < num_b; ++j) visit(first + j, lefts[j], rights[j]);
  }
}

}  // namespace longvlm

#endif  // LONGVLM_X86
