// Sums of products of integers on AVX-512, for a panel of A and rows of B.
#pragma once

#include "kernels/dispatch.h"
#include "kernels/panels.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <utility>

namespace longvlm {

// GCC 12 keeps the sums of _mm512_dpwssd_epi32 and _mm512_dpbusd_epi32 in memory, not in registers.
// The assembly does not.

// Adds to each 32-bit lane the two products of its 16-bit numbers.
LONGVLM_TARGET_AVX512 inline void AddWordProducts(__m512i a, __m512i b, __m512i& sum) {
#if defined(__GNUC__)
  __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#else
  sum = _mm512_dpwssd_epi32(sum, a, b);
#endif
}

// Adds to each 32-bit lane the four products of its 8-bit numbers, unsigned ones of a, signed ones
// of b.
LONGVLM_TARGET_AVX512 inline void AddByteProducts(__m512i a, __m512i b, __m512i& sum) {
#if defined(__GNUC__)
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#else
  sum = _mm512_dpbusd_epi32(sum, a, b);
#endif
}

// GCC 12 warns about its own header in _mm512_max_epi32.
LONGVLM_TARGET_AVX512 inline __m512i HighestAvx512(__m512i a, __m512i b) {
  return _mm512_maskz_max_epi32(0xffff, a, b);
}

// The 16-bit products of a column of a panel of A, which begins at `column`, with the rows of one
// panel of B, in the first lanes; the others are 0. `pairs`: of 16-bit numbers in a row.
LONGVLM_TARGET_AVX512 inline __m512i ColumnProductsAvx512(const int32_t* column,
                                                          const int32_t* panel, size_t pairs) {
  constexpr size_t kA = kPanelWidthAAvx512;
  constexpr size_t kB = kPanelWidthBAvx512;
  constexpr __mmask16 kRows = (1u << kB) - 1;
  // Two sums hide half of the latency.
  __m512i even = _mm512_setzero_si512(), odd = even;
  size_t k = 0;
  for (; k + 2 <= pairs; k += 2, column += 2 * kA, panel += 2 * kB) {
    AddWordProducts(_mm512_maskz_loadu_epi32(kRows, panel), _mm512_set1_epi32(column[0]), even);
    AddWordProducts(_mm512_maskz_loadu_epi32(kRows, panel + kB), _mm512_set1_epi32(column[kA]),
                    odd);
  }
  if (k < pairs) {
    AddWordProducts(_mm512_maskz_loadu_epi32(kRows, panel), _mm512_set1_epi32(column[0]), even);
  }
  return _mm512_add_epi32(even, odd);
}

// The highest product of each column of a panel of A with the rows of a panel of B.
struct HighestOfPanelAvx512 {
  __m512i left;   // columns 0 to 15
  __m512i right;  // columns 16 to 31

  // `a` and `b` are panels of `steps` values of 32 bits for each row, `start` where the sum of each
  // row of B starts, or null for 0. `add` is one of the functions above. An index sequence unrolls
  // the loops over rows, without which GCC keeps sums in memory.
  template <void (*add)(__m512i, __m512i, __m512i&)>
  LONGVLM_TARGET_AVX512 static inline HighestOfPanelAvx512 Of(const int32_t* a, const int32_t* b,
                                                              const int32_t* start, size_t steps) {
    return Unrolled<add>(a, b, start, steps, std::make_index_sequence<kPanelWidthBAvx512>());
  }

 private:
  template <void (*add)(__m512i, __m512i, __m512i&), size_t... kRow>
  LONGVLM_TARGET_AVX512 static inline HighestOfPanelAvx512 Unrolled(const int32_t* a,
                                                                    const int32_t* b,
                                                                    const int32_t* start,
                                                                    size_t steps,
                                                                    std::index_sequence<kRow...>) {
    constexpr size_t kA = kPanelWidthAAvx512;
    constexpr size_t kB = kPanelWidthBAvx512;
    __m512i left[kB], right[kB];
    ((left[kRow] = right[kRow] = _mm512_set1_epi32(start == nullptr ? 0 : start[kRow])), ...);
    for (size_t k = 0; k < steps; ++k, a += kA, b += kB) {
      const __m512i a_left = _mm512_loadu_si512(a);
      const __m512i a_right = _mm512_loadu_si512(a + 16);
      ((add(a_left, _mm512_set1_epi32(b[kRow]), left[kRow]),
        add(a_right, _mm512_set1_epi32(b[kRow]), right[kRow])),
       ...);
    }
    HighestOfPanelAvx512 highest{left[0], right[0]};
    ((highest.left = HighestAvx512(highest.left, left[kRow]),
      highest.right = HighestAvx512(highest.right, right[kRow])),
     ...);
    return highest;
  }
};

}  // namespace longvlm

#endif  // LONGVLM_X86
