#include "kernels/best_match.h"
#include "kernels/panel_products_avx512.h"

#if defined(LONGVLM_X86)

#include <limits>

namespace longvlm {
namespace {

struct Best {
  __m512 value;
  __m512i index;

  LONGVLM_TARGET_AVX512 inline void Fold(__m512 similarity, int32_t row) {
    const __mmask16 higher = _mm512_cmp_ps_mask(similarity, value, _CMP_GT_OQ);
    value = _mm512_mask_mov_ps(value, higher, similarity);
    index = _mm512_mask_set1_epi32(index, higher, row);
  }
};

// Ascending b with a strict comparison: the lowest index keeps a tie.
struct FoldBest {
  Best left, right;

  LONGVLM_TARGET_AVX512 inline void operator()(size_t row, __m512 l, __m512 r) {
    left.Fold(l, static_cast<int32_t>(row));
    right.Fold(r, static_cast<int32_t>(row));
  }
};

}  // namespace

LONGVLM_TARGET_AVX512 void BestMatch_avx512(const float* a, const float* b, size_t num_b,
                                            size_t dims, float* best, int32_t* index) {
  const Best none{_mm512_set1_ps(-std::numeric_limits<float>::infinity()), _mm512_setzero_si512()};
  FoldBest fold{none, none};
  ForProductsAvx512(a, b, num_b, dims, fold);
  _mm512_storeu_ps(best, fold.left.value);
  _mm512_storeu_ps(best + 16, fold.right.value);
  _mm512_storeu_si512(index, fold.left.index);
  _mm512_storeu_si512(index + 16, fold.right.index);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
