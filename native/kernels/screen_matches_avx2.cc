#include "kernels/integer_products_avx2.h"
#include "kernels/screen_matches.h"

#if defined(LONGVLM_X86)

#include <bit>
#include <limits>

namespace longvlm {
namespace {

LONGVLM_TARGET_AVX2 inline __m256i Highest(__m256i a, __m256i b, __m256i c, __m256i d, __m256i e,
                                           __m256i f) {
  return _mm256_max_epi32(_mm256_max_epi32(_mm256_max_epi32(a, b), _mm256_max_epi32(c, d)),
                          _mm256_max_epi32(e, f));
}

// A bit for each lane of `values` that is below that of `least`.
LONGVLM_TARGET_AVX2 inline uint32_t Below(__m256i values, __m256i least) {
  const __m256i below = _mm256_cmpgt_epi32(least, values);
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(below)));
}

}  // namespace

LONGVLM_TARGET_AVX2 size_t ScreenMatches_avx2(const int32_t* a, const int32_t* b, size_t panels,
                                              size_t dims, int32_t margin, uint32_t columns,
                                              RowPair* found, size_t max_pairs) {
  constexpr size_t kA = kPanelWidthAAvx2;
  constexpr size_t kB = kPanelWidthBAvx2;
  const size_t pairs = (dims + 1) / 2;
  const int32_t* first_panel = b;
  __m256i highest[kScreenMaxPanels][2];
  __m256i best_left = _mm256_set1_epi32(std::numeric_limits<int32_t>::min());
  __m256i best_right = best_left;
  for (size_t panel = 0; panel < panels; ++panel) {
    __m256i l0 = _mm256_setzero_si256(), l1 = l0, l2 = l0, l3 = l0, l4 = l0, l5 = l0;
    __m256i r0 = l0, r1 = l0, r2 = l0, r3 = l0, r4 = l0, r5 = l0;
    const int32_t* a_row = a;
    for (size_t k = 0; k < pairs; ++k, a_row += kA, b += kB) {
      const __m256i left = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a_row));
      const __m256i right = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a_row + 8));
      __m256i one = _mm256_set1_epi32(b[0]);
      AddWordProductsAvx2(left, one, l0);
      AddWordProductsAvx2(right, one, r0);
      one = _mm256_set1_epi32(b[1]);
      AddWordProductsAvx2(left, one, l1);
      AddWordProductsAvx2(right, one, r1);
      one = _mm256_set1_epi32(b[2]);
      AddWordProductsAvx2(left, one, l2);
      AddWordProductsAvx2(right, one, r2);
      one = _mm256_set1_epi32(b[3]);
      AddWordProductsAvx2(left, one, l3);
      AddWordProductsAvx2(right, one, r3);
      one = _mm256_set1_epi32(b[4]);
      AddWordProductsAvx2(left, one, l4);
      AddWordProductsAvx2(right, one, r4);
      one = _mm256_set1_epi32(b[5]);
      AddWordProductsAvx2(left, one, l5);
      AddWordProductsAvx2(right, one, r5);
    }
    highest[panel][0] = Highest(l0, l1, l2, l3, l4, l5);
    highest[panel][1] = Highest(r0, r1, r2, r3, r4, r5);
    best_left = _mm256_max_epi32(best_left, highest[panel][0]);
    best_right = _mm256_max_epi32(best_right, highest[panel][1]);
  }
  const __m256i margins = _mm256_set1_epi32(margin);
  const __m256i least_left = _mm256_sub_epi32(best_left, margins);
  const __m256i least_right = _mm256_sub_epi32(best_right, margins);
  int32_t least[kA];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(least), least_left);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(least + 8), least_right);
  constexpr uint32_t kRows = (1u << kB) - 1;
  size_t count = 0;
  for (size_t panel = 0; panel < panels; ++panel) {
    const uint32_t below =
        Below(highest[panel][0], least_left) | Below(highest[panel][1], least_right) << 8;
    for (uint32_t left = columns & ~below & 0xffffu; left != 0; left &= left - 1) {
      const uint32_t i = static_cast<uint32_t>(std::countr_zero(left));
      const __m256i products = ColumnProductsAvx2(a + i, first_panel + panel * pairs * kB, pairs);
      for (uint32_t rows = ~Below(products, _mm256_set1_epi32(least[i])) & kRows; rows != 0;
           rows &= rows - 1) {
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
