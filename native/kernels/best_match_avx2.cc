#include "kernels/best_match.h"
#include "kernels/dispatch.h"
#include "kernels/panels.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <limits>

namespace longvlm {
namespace {

struct Best {
  __m256 value;
  __m256i index;
};

LONGVLM_TARGET_AVX2 inline void Fold(__m256 similarity, __m256i index, Best& best) {
  const __m256 higher = _mm256_cmp_ps(similarity, best.value, _CMP_GT_OQ);
  best.value = _mm256_blendv_ps(best.value, similarity, higher);
  best.index = _mm256_blendv_epi8(best.index, index, _mm256_castps_si256(higher));
}

}  // namespace

LONGVLM_TARGET_AVX2 void BestMatch_avx2(const float* a, const float* b, size_t num_b, size_t dims,
                                        float* best, int32_t* index) {
  constexpr size_t kA = kPanelWidthAAvx2;
  constexpr size_t kB = kPanelWidthBAvx2;
  const __m256 lowest = _mm256_set1_ps(-std::numeric_limits<float>::infinity());
  Best left{lowest, _mm256_setzero_si256()};
  Best right = left;
  for (size_t first = 0; first < num_b; first += kB, b += dims * kB) {
    __m256 l0 = _mm256_setzero_ps(), l1 = l0, l2 = l0, l3 = l0, l4 = l0, l5 = l0;
    __m256 r0 = l0, r1 = l0, r2 = l0, r3 = l0, r4 = l0, r5 = l0;
    const float* a_row = a;
    const float* b_row = b;
    for (size_t k = 0; k < dims; ++k, a_row += kA, b_row += kB) {
      const __m256 a_left = _mm256_loadu_ps(a_row);
      const __m256 a_right = _mm256_loadu_ps(a_row + 8);
      __m256 one = _mm256_broadcast_ss(b_row);
      l0 = _mm256_fmadd_ps(a_left, one, l0);
      r0 = _mm256_fmadd_ps(a_right, one, r0);
      one = _mm256_broadcast_ss(b_row + 1);
      l1 = _mm256_fmadd_ps(a_left, one, l1);
      r1 = _mm256_fmadd_ps(a_right, one, r1);
      one = _mm256_broadcast_ss(b_row + 2);
      l2 = _mm256_fmadd_ps(a_left, one, l2);
      r2 = _mm256_fmadd_ps(a_right, one, r2);
      one = _mm256_broadcast_ss(b_row + 3);
      l3 = _mm256_fmadd_ps(a_left, one, l3);
      r3 = _mm256_fmadd_ps(a_right, one, r3);
      one = _mm256_broadcast_ss(b_row + 4);
      l4 = _mm256_fmadd_ps(a_left, one, l4);
      r4 = _mm256_fmadd_ps(a_right, one, r4);
      one = _mm256_broadcast_ss(b_row + 5);
      l5 = _mm256_fmadd_ps(a_left, one, l5);
      r5 = _mm256_fmadd_ps(a_right, one, r5);
    }
    const __m256 lefts[kB] = {l0, l1, l2, l3, l4, l5};
    const __m256 rights[kB] = {r0, r1, r2, r3, r4, r5};
    // Ascending b with a strict comparison: the lowest index keeps a tie.
    for (size_t j = 0; j < kB && first + j < num_b; ++j) {
      const __m256i candidate = _mm256_set1_epi32(static_cast<int32_t>(first + j));
      Fold(lefts[j], candidate, left);
      Fold(rights[j], candidate, right);
    }
  }
  _mm256_storeu_ps(best, left.value);
  _mm256_storeu_ps(best + 8, right.value);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(index), left.index);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(index + 8), right.index);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
