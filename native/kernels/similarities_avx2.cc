#include "kernels/dispatch.h"
#include "kernels/similarities.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

namespace longvlm {
namespace {

// A chain cannot be split, so several chains are interleaved to hide the latency.
template <size_t kChains>
LONGVLM_TARGET_AVX2 inline void Chains(const float* a, const float* b, const RowPair* pairs,
                                       size_t dims, float* similarity) {
  const float* row_a[kChains];
  const float* row_b[kChains];
  __m128 sum[kChains];
  for (size_t i = 0; i < kChains; ++i) {
    row_a[i] = a + pairs[i].row_of_a * dims;
    row_b[i] = b + pairs[i].row_of_b * dims;
    sum[i] = _mm_setzero_ps();
  }
  for (size_t k = 0; k < dims; ++k) {
    for (size_t i = 0; i < kChains; ++i) {
      sum[i] = _mm_fmadd_ss(_mm_load_ss(row_a[i] + k), _mm_load_ss(row_b[i] + k), sum[i]);
    }
  }
  for (size_t i = 0; i < kChains; ++i) _mm_store_ss(similarity + i, sum[i]);
}

}  // namespace

LONGVLM_TARGET_AVX2 void Similarities_avx2(const float* a, const float* b, const RowPair* pairs,
                                           size_t count, size_t dims, float* similarity) {
  // Six pairs of addresses fit the registers.
  size_t i = 0;
  for (; i + 6 <= count; i += 6) Chains<6>(a, b, pairs + i, dims, similarity + i);
  for (; i + 2 <= count; i += 2) Chains<2>(a, b, pairs + i, dims, similarity + i);
  for (; i < count; ++i) Chains<1>(a, b, pairs + i, dims, similarity + i);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
