#include "kernels/dispatch.h"
#include "kernels/panels.h"
#include "kernels/screen_matches.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <bit>
#include <limits>

namespace longvlm {
namespace {

// GCC 12 warns about its own header in _mm512_max_epi32.
LONGVLM_TARGET_AVX512 inline __m512i Highest(__m512i a, __m512i b) {
  return _mm512_maskz_max_epi32(0xffff, a, b);
}

// The products of column `i` of `a` with the rows of one panel of B, in the first lanes.
LONGVLM_TARGET_AVX512 inline __m512i ColumnProducts(const int32_t* a, size_t i,
                                                    const int32_t* panel, size_t pairs) {
  constexpr __mmask16 kRows = (1u << kPanelWidthBAvx512) - 1;
  __m512i sum = _mm512_setzero_si512();
  for (size_t k = 0; k < pairs; ++k) {
    const __m512i rows = _mm512_maskz_loadu_epi32(kRows, panel + k * kPanelWidthBAvx512);
    sum = _mm512_dpwssd_epi32(sum, rows, _mm512_set1_epi32(a[k * kPanelWidthAAvx512 + i]));
  }
  return sum;
}

}  // namespace

LONGVLM_TARGET_AVX512 size_t ScreenMatches_avx512(const int32_t* a, const int32_t* b, size_t panels,
                                                  size_t dims, int32_t margin, uint32_t columns,
                                                  RowPair* found, size_t max_pairs) {
  constexpr size_t kA = kPanelWidthAAvx512;
  constexpr size_t kB = kPanelWidthBAvx512;
  const size_t pairs = (dims + 1) / 2;
  const int32_t* first_panel = b;
  __m512i highest[kScreenMaxPanels][2];
  __m512i best_left = _mm512_set1_epi32(std::numeric_limits<int32_t>::min());
  __m512i best_right = best_left;
  for (size_t panel = 0; panel < panels; ++panel) {
    __m512i left[kB], right[kB];
    for (size_t j = 0; j < kB; ++j) left[j] = right[j] = _mm512_setzero_si512();
    const int32_t* a_row = a;
    for (size_t k = 0; k < pairs; ++k, a_row += kA, b += kB) {
      const __m512i a_left = _mm512_loadu_si512(a_row);
      const __m512i a_right = _mm512_loadu_si512(a_row + 16);
      for (size_t j = 0; j < kB; ++j) {
        const __m512i one = _mm512_set1_epi32(b[j]);
        left[j] = _mm512_dpwssd_epi32(left[j], a_left, one);
        right[j] = _mm512_dpwssd_epi32(right[j], a_right, one);
      }
    }
    __m512i high_left = left[0], high_right = right[0];
    for (size_t j = 1; j < kB; ++j) {
      high_left = Highest(high_left, left[j]);
      high_right = Highest(high_right, right[j]);
    }
    highest[panel][0] = high_left;
    highest[panel][1] = high_right;
    best_left = Highest(best_left, high_left);
    best_right = Highest(best_right, high_right);
  }
  const __m512i margins = _mm512_set1_epi32(margin);
  const __m512i least_left = _mm512_sub_epi32(best_left, margins);
  const __m512i least_right = _mm512_sub_epi32(best_right, margins);
  int32_t least[kA];
  _mm512_storeu_si512(least, least_left);
  _mm512_storeu_si512(least + 16, least_right);
  constexpr uint32_t kRows = (1u << kB) - 1;
  size_t count = 0;
  for (size_t panel = 0; panel < panels; ++panel) {
    const uint32_t low = _mm512_cmpge_epi32_mask(highest[panel][0], least_left);
    const uint32_t high = _mm512_cmpge_epi32_mask(highest[panel][1], least_right);
    for (uint32_t left = columns & (low | high << 16); left != 0; left &= left - 1) {
      const uint32_t i = static_cast<uint32_t>(std::countr_zero(left));
      const __m512i products = ColumnProducts(a, i, first_panel + panel * pairs * kB, pairs);
      const uint32_t enough = _mm512_cmpge_epi32_mask(products, _mm512_set1_epi32(least[i]));
      for (uint32_t rows = enough & kRows; rows != 0; rows &= rows - 1) {
        if (count == max_pairs) return max_pairs + 1;
        const uint32_t j = static_cast<uint32_t>(std::countr_zero(rows));
        found[count++] = {i, static_cast<uint32_t>(panel * kB) + j};
      }
    }
  }
  return count;
}

}  // namespace longvlm

#endif  // LONGVLM_X86
