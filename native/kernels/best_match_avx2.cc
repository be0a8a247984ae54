#include "kernels/best_match.h"
#include "kernels/panel_products_avx2.h"

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

  LONGVLM_TARGET_AVX2 inline void Fold(size_t column, __m256 similarity, __m256i row) {
    const __m256 highest = _mm256_loadu_ps(best + column);
    const __m256 higher = _mm256_cmp_ps(similarity, highest, _CMP_GT_OQ);
    __m256i* rows = reinterpret_cast<__m256i*>(index + column);
    _mm256_storeu_ps(best + column, _mm256_blendv_ps(highest, similarity, higher));
    _mm256_storeu_si256(
        rows, _mm256_blendv_epi8(_mm256_loadu_si256(rows), row, _mm256_castps_si256(higher)));
  }

  LONGVLM_TARGET_AVX2 inline void operator()(size_t row, __m256 left, __m256 right) {
    const __m256i candidate = _mm256_set1_epi32(static_cast<int32_t>(row));
    Fold(0, left, candidate);
    Fold(8, right, candidate);
  }
};

}  // namespace

LONGVLM_TARGET_AVX2 void BestMatch_avx2(const float* a, const float* b, size_t num_b, size_t dims,
                                        float* best, int32_t* index) {
  std::fill_n(best, kPanelWidthAAvx2, -std::numeric_limits<float>::infinity());
  std::fill_n(index, kPanelWidthAAvx2, 0);
  FoldBest fold{best, index};
  ForProductsAvx2(a, b, num_b, dims, fold);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
