#include "kernels/best_match.h"
#include "kernels/dispatch.h"
#include "kernels/panels.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <limits>

namespace longvlm {
namespace {

struct Best {
  __m512 value;
  __m512i index;
};

LONGVLM_TARGET_AVX512 inline void Fold(__m512 similarity, int32_t row, Best& best) {
  const __mmask16 higher = _mm512_cmp_ps_mask(similarity, best.value, _CMP_GT_OQ);
  best.value = _mm512_mask_mov_ps(best.value, higher, similarity);
  best.index = _mm512_mask_set1_epi32(best.index, higher, row);
}

}  // namespace

LONGVLM_TARGET_AVX512 void BestMatch_avx512(const float* a, const float* b, size_t num_b,
                                            size_t dims, float* best, int32_t* index) {
  constexpr size_t kA = kPanelWidthAAvx512;
  constexpr size_t kB = kPanelWidthBAvx512;
  const __m512 lowest = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  Best left{lowest, _mm512_setzero_si512()};
  Best right = left;
  for (size_t first = 0; first < num_b; first += kB, b += dims * kB) {
    __m512 lefts[kB], rights[kB];
    for (size_t j = 0; j < kB; ++j) lefts[j] = rights[j] = _mm512_setzero_ps();
    const float* a_row = a;
    const float* b_row = b;
    for (size_t k = 0; k < dims; ++k, a_row += kA, b_row += kB) {
      const __m512 a_left = _mm512_loadu_ps(a_row);
      const __m512 a_right = _mm512_loadu_ps(a_row + 16);
      for (size_t j = 0; j < kB; ++j) {
        const __m512 one = _mm512_set1_ps(b_row[j]);
        lefts[j] = _mm512_fmadd_ps(a_left, one, lefts[j]);
        rights[j] = _mm512_fmadd_ps(a_right, one, rights[j]);
      }
    }
    // Ascending b with a strict comparison: the lowest index keeps a tie.
    for (size_t j = 0; j < kB && first + j < num_b; ++j) {
      Fold(lefts[j], static_cast<int32_t>(first + j), left);
      Fold(rights[j], static_cast<int32_t>(first + j), right);
    }
  }
  _mm512_storeu_ps(best, left.value);
  _mm512_storeu_ps(best + 16, right.value);
  _mm512_storeu_si512(index, left.index);
  _mm512_storeu_si512(index + 16, right.index);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
