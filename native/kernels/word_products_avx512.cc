#include "kernels/integer_products_avx512.h"
#include "kernels/word_products.h"

#if defined(LONGVLM_X86)

namespace longvlm {
namespace {

constexpr size_t kA = kPanelWidthAAvx512;
constexpr size_t kB = kPanelWidthBAvx512;

// An index sequence unrolls the loops over rows, without which GCC keeps sums in memory.
template <size_t... kRow>
LONGVLM_TARGET_AVX512 inline void WholePanel(const int32_t* a, const int32_t* b, size_t pairs,
                                             int32_t* product, std::index_sequence<kRow...>) {
  __m512i left[kB], right[kB];
  ((left[kRow] = right[kRow] = _mm512_setzero_si512()), ...);
  for (size_t k = 0; k < pairs; ++k, a += kA, b += kB) {
    const __m512i a_left = _mm512_loadu_si512(a);
    const __m512i a_right = _mm512_loadu_si512(a + 16);
    ((AddWordProducts(a_left, _mm512_set1_epi32(b[kRow]), left[kRow]),
      AddWordProducts(a_right, _mm512_set1_epi32(b[kRow]), right[kRow])),
     ...);
  }
  ((_mm512_storeu_si512(product + kRow * kA, left[kRow]),
    _mm512_storeu_si512(product + kRow * kA + 16, right[kRow])),
   ...);
}

// Of sixteen columns.
template <size_t... kRow>
LONGVLM_TARGET_AVX512 inline void HalfPanel(const int32_t* a, const int32_t* b, size_t pairs,
                                            int32_t* product, std::index_sequence<kRow...>) {
  __m512i sum[kB];
  ((sum[kRow] = _mm512_setzero_si512()), ...);
  for (size_t k = 0; k < pairs; ++k, a += kA, b += kB) {
    const __m512i left = _mm512_loadu_si512(a);
    (AddWordProducts(left, _mm512_set1_epi32(b[kRow]), sum[kRow]), ...);
  }
  (_mm512_storeu_si512(product + kRow * kA, sum[kRow]), ...);
}

}  // namespace

LONGVLM_TARGET_AVX512 void WordProducts_avx512(const int32_t* a, const int32_t* b, size_t panels,
                                               size_t dims, size_t columns, int32_t* product) {
  const size_t pairs = (dims + 1) / 2;
  constexpr std::make_index_sequence<kB> kRows;
  for (size_t panel = 0; panel < panels; ++panel, b += pairs * kB, product += kB * kA) {
    if (columns > kA / 2) {
      WholePanel(a, b, pairs, product, kRows);
    } else {
      HalfPanel(a, b, pairs, product, kRows);
    }
  }
}

}  // namespace longvlm

#endif  // LONGVLM_X86
