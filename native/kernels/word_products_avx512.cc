#include "kernels/integer_products_avx512.h"
#include "kernels/word_products.h"
#include "kernels/word_tiles.h"

#if defined(LONGVLM_X86)

namespace longvlm {
namespace {

// 24 sums, 6 rows of A and one of B, of 32 registers.
constexpr size_t kRowsA = 6;
constexpr size_t kRowsB = 4;

// The sums of the lanes of each.
LONGVLM_TARGET_AVX512 inline __m128i SumsOf(__m512i a, __m512i b, __m512i c, __m512i d) {
  constexpr __mmask16 kAll = 0xffff;  // without a mask, GCC 12 warns about its own header
  const __m512i ab = _mm512_add_epi32(_mm512_maskz_unpacklo_epi32(kAll, a, b),
                                      _mm512_maskz_unpackhi_epi32(kAll, a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_maskz_unpacklo_epi32(kAll, c, d),
                                      _mm512_maskz_unpackhi_epi32(kAll, c, d));
  const __m512i all = _mm512_add_epi32(_mm512_maskz_unpacklo_epi64(0xff, ab, cd),
                                       _mm512_maskz_unpackhi_epi64(0xff, ab, cd));
  const __m256i half = _mm256_add_epi32(_mm512_maskz_extracti64x4_epi64(0xff, all, 0),
                                        _mm512_maskz_extracti64x4_epi64(0xff, all, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

// The first kCount values.
template <size_t kCount>
LONGVLM_TARGET_AVX512 inline void AddTo(int32_t* product, __m128i sums) {
  constexpr __mmask8 kMask = (1u << kCount) - 1;
  const __m128i before = _mm_maskz_loadu_epi32(kMask, product);
  _mm_mask_storeu_epi32(product, kMask, _mm_add_epi32(before, sums));
}

// Sum number i is that of row i % kA of A and row i / kA of B: a row of B is needed for a few sums
// in sequence only. Index sequences unroll the loops, without which GCC keeps sums in memory.
template <size_t kA, size_t kB, size_t... kSum, size_t... kAll, size_t... kRow>
LONGVLM_TARGET_AVX512 inline void Multiply(const int16_t* const* a, const int16_t* const* b,
                                           size_t first, size_t last, int32_t* product,
                                           size_t stride, std::index_sequence<kSum...>,
                                           std::index_sequence<kAll...>,
                                           std::index_sequence<kRow...>) {
  const int16_t* row_a[kA] = {a[kRow]...};
  const int16_t* row_b[kB];
  for (size_t j = 0; j < kB; ++j) row_b[j] = b[j];
  __m512i sum[kA * kRowsB];
  ((sum[kAll] = _mm512_setzero_si512()), ...);
  for (size_t k = first; k < last; k += kWordsAtOnce) {
    const __m512i left[kA] = {_mm512_loadu_si512(row_a[kRow] + k)...};
    (AddWordProducts(left[kSum % kA], _mm512_loadu_si512(row_b[kSum / kA] + k), sum[kSum]), ...);
  }
  (AddTo<kB>(product + kRow * stride,
             SumsOf(sum[kRow], sum[kA + kRow], sum[2 * kA + kRow], sum[3 * kA + kRow])),
   ...);
}

template <size_t kA, size_t kB>
LONGVLM_TARGET_AVX512 void Tile(const int16_t* const* a, const int16_t* const* b, size_t first,
                                size_t last, int32_t* product, size_t stride) {
  Multiply<kA, kB>(a, b, first, last, product, stride, std::make_index_sequence<kA * kB>(),
                   std::make_index_sequence<kA * kRowsB>(), std::make_index_sequence<kA>());
}

template <size_t... kTile>
constexpr std::array<WordTile, kRowsA * kRowsB> Tiles(std::index_sequence<kTile...>) {
  return {Tile<kTile / kRowsB + 1, kTile % kRowsB + 1>...};
}

}  // namespace

void WordProducts_avx512(const int16_t* const* a, size_t count_a, const int16_t* const* b,
                         size_t count_b, size_t dims, int32_t* product, size_t stride) {
  static constexpr auto kTiles = Tiles(std::make_index_sequence<kRowsA * kRowsB>());
  MultiplyByTiles<kRowsA, kRowsB>(kTiles, a, count_a, b, count_b, dims, product, stride);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
