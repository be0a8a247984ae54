#include "kernels/best_match.h"
#include "kernels/panel_products_avx2.h"

#if defined(LONGVLM_X86)

#include <limits>

namespace longvlm {
namespace {

struct Best {
  __m256 value;
  __m256i index;

  LONGVLM_TARGET_AVX2 inline void Fold(__m256 similarity, __m256i row) {
    const __m256 higher = _mm256_cmp_ps(similarity, value, _CMP_GT_OQ);
    value = _mm256_blendv_ps(value, similarity, higher);
    index = _mm256_blendv_epi8(index, row, _mm256_castps_si256(higher));
  }
};

// Ascending b with a strict comparison: the lowest index keeps a tie.
struct FoldBest {
  Best left, right;

  LONGVLM_TARGET_AVX2 inline void operator()(size_t row, __m256 l, __m256 r) {
    const __m256i candidate = _mm256_set1_epi32(static_cast<int32_t>(row));
    left.Fold(l, candidate);
    right.Fold(r, candidate);
  }
};

}  // namespace

LONGVLM_TARGET_AVX2 void BestMatch_avx2(const float* a, const float* b, size_t num_b, size_t dims,
                                        float* best, int32_t* index) {
  const Best none{_mm256_set1_ps(-std::numeric_limits<float>::infinity()), _mm256_setzero_si256()};
  FoldBest fold{none, none};
  ForProductsAvx2(a, b, num_b, dims, fold);
  _mm256_storeu_ps(best, fold.left.value);
  _mm256_storeu_ps(best + 8, fold.right.value);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(index), fold.left.index);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(index + 8), fold.right.index);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
