#include "kernels/column_hits.h"
#include "kernels/integer_products_avx512.h"
#include "kernels/screen_rows.h"

#if defined(LONGVLM_X86)

#include <algorithm>
#include <bit>
#include <limits>

namespace longvlm {

LONGVLM_TARGET_AVX512 size_t ScreenRows_avx512(const int32_t* a, const int32_t* b,
                                               const uint32_t* hits, size_t panels, size_t dims,
                                               int32_t margin, RowPair* found, size_t max_pairs) {
  constexpr size_t kA = kPanelWidthAAvx512;
  constexpr size_t kB = kPanelWidthBAvx512;
  constexpr __mmask16 kRows = (1u << kB) - 1;
  const size_t pairs = (dims + 1) / 2;
  const ColumnHits<kA> columns(hits, panels);
  size_t count = 0;
  for (uint32_t i = 0; i < kA; ++i) {
    if (columns.count[i] == 0) continue;
    __m512i products[kScreenMaxPanels];
    __m512i highest = _mm512_set1_epi32(std::numeric_limits<int32_t>::min());
    for (size_t hit = 0; hit < columns.count[i]; ++hit) {
      const int32_t* panel = b + columns.panels[i][hit] * pairs * kB;
      products[hit] = ColumnProductsAvx512(a + i, panel, pairs);
      highest = HighestAvx512(highest, products[hit]);
    }
    int32_t lanes[16];
    _mm512_storeu_si512(lanes, highest);
    const int32_t best = *std::max_element(lanes, lanes + kB);
    const __m512i least = _mm512_set1_epi32(best - margin);
    for (size_t hit = 0; hit < columns.count[i]; ++hit) {
      uint32_t rows = _mm512_mask_cmpge_epi32_mask(kRows, products[hit], least);
      for (; rows != 0; rows &= rows - 1) {
        if (count == max_pairs) return max_pairs + 1;
        const auto j = static_cast<uint32_t>(std::countr_zero(rows));
        found[count++] = {i, static_cast<uint32_t>(columns.panels[i][hit] * kB) + j};
      }
    }
  }
  return count;
}

}  // namespace longvlm

#endif  // LONGVLM_X86
