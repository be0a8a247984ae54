#include "kernels/best_match.h"
#include "kernels/panel_products_avx512.h"

#if defined(LONGVLM_X86)

#include <algorithm>
#include <limits>

namespace longvlm {
namespace {

// Ascending b with a strict comparison: the lowest index keeps a tie. The highest are in memory, as
// the sums need all registers.
struct FoldBest {
  float* best;
  int32_t* index;

  LONGVLM_TARGET_AVX512 inline void Fold(size_t column, __m512 similarity, int32_t row) {
    const __m512 highest = _mm512_loadu_ps(best + column);
    const __mmask16 higher = _mm512_cmp_ps_mask(similarity, highest, _CMP_GT_OQ);
    _mm512_mask_storeu_ps(best + column, higher, similarity);
    _mm512_mask_storeu_epi32(index + column, higher, _mm512_set1_epi32(row));
  }

  LONGVLM_TARGET_AVX512 inline void operator()(size_t row, __m512 left, __m512 right) {
    Fold(0, left, static_cast<int32_t>(row));
    Fold(16, right, static_cast<int32_t>(row));
  }
};

}  // namespace

LONGVLM_TARGET_AVX512 void BestMatch_avx512(const float* a, const float* b, size_t num_b,
                                            size_t dims, float* best, int32_t* index) {
  std::fill_n(best, kPanelWidthAAvx512, -std::numeric_limits<float>::infinity());
  std::fill_n(index, kPanelWidthAAvx512, 0);
  FoldBest fold{best, index};
  ForProductsAvx512(a, b, num_b, dims, fold);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
