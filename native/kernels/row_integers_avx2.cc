#include "kernels/dispatch.h"
#include "kernels/row_integers.h"
#include "kernels/word_products.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace longvlm {
namespace {

struct Rounded {
  __m256i integers;
  __m256 lost;
};

LONGVLM_TARGET_AVX2 inline Rounded Round(const float* values, __m256 scale) {
  const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(values), scale);
  const __m256i integers = _mm256_cvtps_epi32(scaled);
  return {integers, _mm256_sub_ps(scaled, _mm256_cvtepi32_ps(integers))};
}

LONGVLM_TARGET_AVX2 inline int32_t SumOf(__m256i values) {
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
  return _mm_cvtsi128_si32(sum);
}

LONGVLM_TARGET_AVX2 inline float SumOf(__m256 values) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps(values, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

}  // namespace

LONGVLM_TARGET_AVX2 float ScaleWords_avx2(const float* row, float scale, size_t dims,
                                          int16_t* out) {
  const __m256 scales = _mm256_set1_ps(scale);
  __m256 squares = _mm256_setzero_ps(), others = squares;
  const auto round = [&](size_t k) LONGVLM_TARGET_AVX2 {
    const Rounded low = Round(row + k, scales), high = Round(row + k + 8, scales);
    squares = _mm256_fmadd_ps(low.lost, low.lost, squares);
    others = _mm256_fmadd_ps(high.lost, high.lost, others);
    // The lanes of packed integers are out of order.
    const __m256i words = _mm256_packs_epi32(low.integers, high.integers);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + k), _mm256_permute4x64_epi64(words, 0xd8));
  };
  size_t k = 0;
  for (; k + kWordsAtOnce <= dims; k += kWordsAtOnce) {
    round(k);
    round(k + kWordsAtOnce / 2);
  }
  const float sum = SumOf(_mm256_add_ps(squares, others));
  return k == dims ? sum : sum + ScaleWords_portable(row + k, scale, dims - k, out + k);
}

LONGVLM_TARGET_AVX2 void RowWords_avx2(const float* row, size_t dims, int32_t* out, size_t stride) {
  constexpr size_t kAtOnce = 16;
  const __m256 scale = _mm256_set1_ps(kScreenScale);
  size_t k = 0;
  for (; k + kAtOnce <= dims; k += kAtOnce) {
    const __m256i words =
        _mm256_packs_epi32(Round(row + k, scale).integers, Round(row + k + 8, scale).integers);
    int32_t pairs[kAtOnce / 2];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(pairs), _mm256_permute4x64_epi64(words, 0xd8));
    for (const int32_t pair : pairs) {
      *out = pair;
      out += stride;
    }
  }
  if (k < dims) RowWords_portable(row + k, dims - k, out, stride);
}

LONGVLM_TARGET_AVX2 ByteRounding RowBytes_avx2(const float* row, size_t dims, float scale,
                                               uint8_t flip, int32_t* out, size_t stride) {
  constexpr size_t kAtOnce = 32;
  const __m256 scales = _mm256_set1_ps(scale);
  const __m256i flips = _mm256_set1_epi8(static_cast<char>(flip));
  // The lanes of packed integers are out of order: dwords 0 4 1 5 2 6 3 7.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  __m256i sums = _mm256_setzero_si256();
  __m256 squares = _mm256_setzero_ps();
  size_t k = 0;
  for (; k + kAtOnce <= dims; k += kAtOnce) {
    const Rounded r0 = Round(row + k, scales), r1 = Round(row + k + 8, scales);
    const Rounded r2 = Round(row + k + 16, scales), r3 = Round(row + k + 24, scales);
    for (const Rounded& r : {r0, r1, r2, r3}) {
      sums = _mm256_add_epi32(sums, r.integers);
      squares = _mm256_fmadd_ps(r.lost, r.lost, squares);
    }
    const __m256i words01 = _mm256_packs_epi32(r0.integers, r1.integers);
    const __m256i words23 = _mm256_packs_epi32(r2.integers, r3.integers);
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(words01, words23), order);
    int32_t quads[kAtOnce / 4];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(quads), _mm256_xor_si256(bytes, flips));
    for (const int32_t quad : quads) {
      *out = quad;
      out += stride;
    }
  }
  ByteRounding rounding{SumOf(sums), SumOf(squares)};
  for (; k < dims; k += 4, out += stride) {
    uint8_t bytes[4];
    for (size_t i = 0; i < 4; ++i) {
      const float scaled = k + i < dims ? row[k + i] * scale : 0.0f;
      const int integer = _mm_cvtss_si32(_mm_set_ss(scaled));
      const float lost = scaled - static_cast<float>(integer);
      rounding.sum += integer;
      rounding.squares += lost * lost;
      bytes[i] = static_cast<uint8_t>(integer) ^ flip;
    }
    std::memcpy(out, bytes, 4);
  }
  return rounding;
}

LONGVLM_TARGET_AVX2 float LargestMagnitude_avx2(const float* values, size_t count) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 largest = _mm256_setzero_ps(), other = largest;
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    largest = _mm256_max_ps(largest, _mm256_and_ps(magnitude, _mm256_loadu_ps(values + i)));
    other = _mm256_max_ps(other, _mm256_and_ps(magnitude, _mm256_loadu_ps(values + i + 8)));
  }
  float lanes[8];
  _mm256_storeu_ps(lanes, _mm256_max_ps(largest, other));
  float result = *std::max_element(lanes, lanes + 8);
  for (; i < count; ++i) result = std::max(result, std::abs(values[i]));
  return result;
}

}  // namespace longvlm

#endif  // LONGVLM_X86
