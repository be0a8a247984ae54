#include "kernels/integer_products_avx2.h"
#include "kernels/word_products.h"
#include "kernels/word_tiles.h"

#if defined(LONGVLM_X86)

namespace longvlm {
namespace {

// 8 sums, 2 rows of A, one of B and a product, of 16 registers.
constexpr size_t kRowsA = 2;
constexpr size_t kRowsB = 4;

LONGVLM_TARGET_AVX2 inline __m256i Load(const int16_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

// The sums of the lanes of each.
LONGVLM_TARGET_AVX2 inline __m128i SumsOf(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

// The products of kB rows of B with a row of A, of which these are the sums.
template <size_t kB>
LONGVLM_TARGET_AVX2 inline void AddSums(__m128i sums, int32_t* product) {
  int32_t each[kRowsB];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(each), sums);
  for (size_t j = 0; j < kB; ++j) product[j] += each[j];
}

// Sum number i is that of row i % kA of A and row i / kA of B. Its indices are constants wherever
// it is used: else GCC keeps all sums in memory, and stores them at each step.
template <size_t kA, size_t kB, size_t... kSum>
LONGVLM_TARGET_AVX2 inline void Multiply(const int16_t* const* a, const int16_t* const* b,
                                         size_t first, size_t last, int32_t* product, size_t stride,
                                         std::index_sequence<kSum...>) {
  constexpr size_t kWords = 16;
  const int16_t* const row_a[] = {a[0], a[kA - 1]};
  const int16_t* const row_b[] = {b[0], b[kB > 1 ? 1 : 0], b[kB > 2 ? 2 : 0], b[kB - 1]};
  const __m256i zero = _mm256_setzero_si256();
  __m256i sum[] = {zero, zero, zero, zero, zero, zero, zero, zero};
  for (size_t k = first; k < last; k += kWords) {
    const __m256i left[] = {Load(row_a[0] + k), Load(row_a[1] + k)};
    (AddWordProductsAvx2(left[kSum % kA], Load(row_b[kSum / kA] + k), sum[kSum]), ...);
  }
  AddSums<kB>(SumsOf(sum[0], sum[kA], sum[2 * kA], sum[3 * kA]), product);
  if constexpr (kA > 1) AddSums<kB>(SumsOf(sum[1], sum[3], sum[5], sum[7]), product + stride);
}

template <size_t kA, size_t kB>
LONGVLM_TARGET_AVX2 void Tile(const int16_t* const* a, const int16_t* const* b, size_t first,
                              size_t last, int32_t* product, size_t stride) {
  Multiply<kA, kB>(a, b, first, last, product, stride, std::make_index_sequence<kA * kB>());
}

template <size_t... kTile>
constexpr std::array<WordTile, kRowsA * kRowsB> Tiles(std::index_sequence<kTile...>) {
  return {Tile<kTile / kRowsB + 1, kTile % kRowsB + 1>...};
}

}  // namespace

void WordProducts_avx2(const int16_t* const* a, size_t count_a, const int16_t* const* b,
                       size_t count_b, size_t dims, int32_t* product, size_t stride) {
  static constexpr auto kTiles = Tiles(std::make_index_sequence<kRowsA * kRowsB>());
  MultiplyByTiles<kRowsA, kRowsB>(kTiles, a, count_a, b, count_b, dims, product, stride);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
