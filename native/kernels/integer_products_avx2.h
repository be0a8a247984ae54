// Sums of products of 16-bit integers on AVX2.
#pragma once

#include "kernels/dispatch.h"
#include "kernels/panels.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

namespace longvlm {

// Adds to each 32-bit lane the two products of its 16-bit numbers.
LONGVLM_TARGET_AVX2 inline void AddWordProductsAvx2(__m256i a, __m256i b, __m256i& sum) {
  const __m256i products = _mm256_madd_epi16(a, b);
#if defined(__GNUC__)
  // Volatile keeps the order: otherwise GCC does all multiplications before the additions, and runs
  // out of registers.
  __asm__ volatile("vpaddd %1, %0, %0" : "+x"(sum) : "x"(products));
#else
  sum = _mm256_add_epi32(sum, products);
#endif
}

// The products of a column of a panel of A, which begins at `column`, with the rows of one panel of
// B, in the first lanes. `pairs`: of 16-bit numbers in a row.
LONGVLM_TARGET_AVX2 inline __m256i ColumnProductsAvx2(const int32_t* column, const int32_t* panel,
                                                      size_t pairs) {
  __m256i sum = _mm256_setzero_si256();
  for (size_t k = 0; k < pairs; ++k) {
    const __m256i rows =
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + k * kPanelWidthBAvx2));
    const __m256i one = _mm256_set1_epi32(column[k * kPanelWidthAAvx2]);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(rows, one));
  }
  return sum;
}

}  // namespace longvlm

#endif  // LONGVLM_X86
