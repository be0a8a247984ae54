#include "kernels/integer_products_avx512.h"
#include "kernels/screen_matches.h"

#if defined(LONGVLM_X86)

#include <bit>
#include <limits>

namespace longvlm {
LONGVLM_TARGET_AVX512 size_t ScreenMatches_avx512(const int32_t* a, const int32_t* b, size_t panels,
                                                  size_t dims, int32_t margin, uint32_t columns,
                                                  RowPair* found, size_t max_pairs) {
  constexpr size_t kA = kPanelWidthAAvx512;
  constexpr size_t kB = kPanelWidthBAvx512;
  const size_t pairs = (dims + 1) / 2;
  __m512i highest[kScreenMaxPanels][2];
  __m512i best_left = _mm512_set1_epi32(std::numeric_limits<int32_t>::min());
  __m512i best_right = best_left;
  for (size_t panel = 0; panel < panels; ++panel) {
    const auto [left, right] =
        HighestOfPanelAvx512::Of<AddWordProducts>(a, b + panel * pairs * kB, nullptr, pairs);
    highest[panel][0] = left;
    highest[panel][1] = right;
    best_left = HighestAvx512(best_left, left);
    best_right = HighestAvx512(best_right, right);
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
      const __m512i products = ColumnProductsAvx512(a + i, b + panel * pairs * kB, pairs);
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
