#include "kernels/integer_products_avx512.h"
#include "kernels/screen_matches.h"
#include "kernels/screen_panels.h"

#if defined(LONGVLM_X86)

#include <bit>
#include <limits>

namespace longvlm {

LONGVLM_TARGET_AVX512 size_t ScreenPanels_avx512(const int32_t* a, const int32_t* b,
                                                 const int32_t* start, size_t panels, size_t dims,
                                                 const int32_t* margins, uint32_t columns,
                                                 uint32_t* hits) {
  constexpr size_t kB = kPanelWidthBAvx512;
  const size_t quads = (dims + 3) / 4;
  __m512i highest[kScreenMaxPanels][2];
  __m512i best_left = _mm512_set1_epi32(std::numeric_limits<int32_t>::min());
  __m512i best_right = best_left;
  for (size_t panel = 0; panel < panels; ++panel) {
    const auto [left, right] = HighestOfPanelAvx512::Of<AddByteProducts>(a, b + panel * quads * kB,
                                                                         start + panel * kB, quads);
    highest[panel][0] = left;
    highest[panel][1] = right;
    best_left = HighestAvx512(best_left, left);
    best_right = HighestAvx512(best_right, right);
  }
  const __m512i least_left = _mm512_sub_epi32(best_left, _mm512_loadu_si512(margins));
  const __m512i least_right = _mm512_sub_epi32(best_right, _mm512_loadu_si512(margins + 16));
  size_t count = 0;
  for (size_t panel = 0; panel < panels; ++panel) {
    const uint32_t low = _mm512_cmpge_epi32_mask(highest[panel][0], least_left);
    const uint32_t high = _mm512_cmpge_epi32_mask(highest[panel][1], least_right);
    hits[panel] = columns & (low | high << 16);
    count += static_cast<size_t>(std::popcount(hits[panel]));
  }
  return count;
}

}  // namespace longvlm

#endif  // LONGVLM_X86
