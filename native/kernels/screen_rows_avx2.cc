#include "kernels/column_hits.h"
#include "kernels/integer_products_avx2.h"
#include "kernels/screen_rows.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <limits>

namespace longvlm {

LONGVLM_TARGET_AVX2 size_t ScreenRows_avx2(const int32_t* a, const int32_t* b, const uint32_t* hits,
                                           size_t panels, size_t dims, int32_t margin,
                                           RowPair* found, size_t max_pairs) {
  constexpr size_t kA = kPanelWidthAAvx2;
  constexpr size_t kB = kPanelWidthBAvx2;
  constexpr uint32_t kRows = (1u << kB) - 1;
  const size_t pairs = (dims + 1) / 2;
  const ColumnHits<kA> columns(hits, panels);
  size_t count = 0;
  for (uint32_t i = 0; i < kA; ++i) {
    if (columns.count[i] == 0) continue;
    int32_t products[kScreenMaxPanels][8];
    int32_t best = std::numeric_limits<int32_t>::min();
    for (size_t hit = 0; hit < columns.count[i]; ++hit) {
      const int32_t* panel = b + columns.panels[i][hit] * pairs * kB;
      const __m256i sums = ColumnProductsAvx2(a + i, panel, pairs);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(products[hit]), sums);
      best = std::max(best, *std::max_element(products[hit], products[hit] + kB));
    }
    const __m256i least = _mm256_set1_epi32(best - margin);
    for (size_t hit = 0; hit < columns.count[i]; ++hit) {
      const __m256i sums = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(products[hit]));
      const __m256i below = _mm256_cmpgt_epi32(least, sums);
      uint32_t rows =
          ~static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(below))) & kRows;
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
