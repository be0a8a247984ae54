#include "kernels/integer_products_avx2.h"
#include "kernels/word_products.h"

#if defined(LONGVLM_X86)

namespace longvlm {
namespace {

constexpr size_t kA = kPanelWidthAAvx2;
constexpr size_t kB = kPanelWidthBAvx2;

LONGVLM_TARGET_AVX2 inline void Store(__m256i sum, int32_t* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), sum);
}

// Of eight columns.
LONGVLM_TARGET_AVX2 inline void HalfPanel(const int32_t* a, const int32_t* b, size_t pairs,
                                          int32_t* product) {
  __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0;
  for (size_t k = 0; k < pairs; ++k, a += kA, b += kB) {
    const __m256i left = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a));
    AddWordProductsAvx2(left, _mm256_set1_epi32(b[0]), s0);
    AddWordProductsAvx2(left, _mm256_set1_epi32(b[1]), s1);
    AddWordProductsAvx2(left, _mm256_set1_epi32(b[2]), s2);
    AddWordProductsAvx2(left, _mm256_set1_epi32(b[3]), s3);
    AddWordProductsAvx2(left, _mm256_set1_epi32(b[4]), s4);
    AddWordProductsAvx2(left, _mm256_set1_epi32(b[5]), s5);
  }
  Store(s0, product);
  Store(s1, product + kA);
  Store(s2, product + 2 * kA);
  Store(s3, product + 3 * kA);
  Store(s4, product + 4 * kA);
  Store(s5, product + 5 * kA);
}

LONGVLM_TARGET_AVX2 inline void WholePanel(const int32_t* a, const int32_t* b, size_t pairs,
                                           int32_t* product) {
  __m256i l0 = _mm256_setzero_si256(), l1 = l0, l2 = l0, l3 = l0, l4 = l0, l5 = l0;
  __m256i r0 = l0, r1 = l0, r2 = l0, r3 = l0, r4 = l0, r5 = l0;
  for (size_t k = 0; k < pairs; ++k, a += kA, b += kB) {
    const __m256i left = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a));
    const __m256i right = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + 8));
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
  const __m256i lefts[] = {l0, l1, l2, l3, l4, l5};
  const __m256i rights[] = {r0, r1, r2, r3, r4, r5};
  for (size_t j = 0; j < kB; ++j) {
    Store(lefts[j], product + j * kA);
    Store(rights[j], product + j * kA + 8);
  }
}

}  // namespace

LONGVLM_TARGET_AVX2 void WordProducts_avx2(const int32_t* a, const int32_t* b, size_t panels,
                                           size_t dims, size_t columns, int32_t* product) {
  const size_t pairs = (dims + 1) / 2;
  for (size_t panel = 0; panel < panels; ++panel, b += pairs * kB, product += kB * kA) {
    if (columns > kA / 2) {
      WholePanel(a, b, pairs, product);
    } else {
      HalfPanel(a, b, pairs, product);
    }
  }
}

}  // namespace longvlm

#endif  // LONGVLM_X86
