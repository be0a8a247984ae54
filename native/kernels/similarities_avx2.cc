#include "kernels/dispatch.h"
#include "kernels/similarities.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <algorithm>

namespace longvlm {
namespace {

constexpr size_t kLanes = 8;

// Four values of eight rows, value by value.
struct Columns {
  __m256 of[4];
};

LONGVLM_TARGET_AVX2 inline __m256 TwoRows(const float* low, const float* high) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}

LONGVLM_TARGET_AVX2 inline Columns Transpose(const float* const* rows, size_t k) {
  const __m256 r0 = TwoRows(rows[0] + k, rows[4] + k), r1 = TwoRows(rows[1] + k, rows[5] + k);
  const __m256 r2 = TwoRows(rows[2] + k, rows[6] + k), r3 = TwoRows(rows[3] + k, rows[7] + k);
  const __m256 low01 = _mm256_unpacklo_ps(r0, r1), high01 = _mm256_unpackhi_ps(r0, r1);
  const __m256 low23 = _mm256_unpacklo_ps(r2, r3), high23 = _mm256_unpackhi_ps(r2, r3);
  return {_mm256_shuffle_ps(low01, low23, 0x44), _mm256_shuffle_ps(low01, low23, 0xee),
          _mm256_shuffle_ps(high01, high23, 0x44), _mm256_shuffle_ps(high01, high23, 0xee)};
}

// A chain cannot be split, so there is one in each lane of kGroups registers: two hide half of the
// latency. Beyond `count`, the last pair is repeated.
template <size_t kGroups>
LONGVLM_TARGET_AVX2 inline void Chains(const float* a, const float* b, const RowPair* pairs,
                                       size_t count, size_t dims, float* similarity) {
  const float* rows_a[kGroups][kLanes];
  const float* rows_b[kGroups][kLanes];
  __m256 sum[kGroups];
  for (size_t group = 0; group < kGroups; ++group) {
    sum[group] = _mm256_setzero_ps();
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const RowPair& pair = pairs[std::min(group * kLanes + lane, count - 1)];
      rows_a[group][lane] = a + pair.row_of_a * dims;
      rows_b[group][lane] = b + pair.row_of_b * dims;
    }
  }
  const auto add_four = [&](size_t group, size_t from) LONGVLM_TARGET_AVX2 {
    const Columns left = Transpose(rows_a[group], from);
    const Columns right = Transpose(rows_b[group], from);
    for (size_t i = 0; i < 4; ++i) {
      sum[group] = _mm256_fmadd_ps(left.of[i], right.of[i], sum[group]);
    }
  };
  // A cache line of each row at a time: the same lines of rows may displace each other.
  constexpr size_t kValuesOfLine = 16;
  size_t k = 0;
  for (; k + kValuesOfLine <= dims; k += kValuesOfLine) {
    for (size_t group = 0; group < kGroups; ++group) {
      for (size_t i = 0; i < kValuesOfLine; i += 4) add_four(group, k + i);
    }
  }
  for (; k + 4 <= dims; k += 4) {
    for (size_t group = 0; group < kGroups; ++group) add_four(group, k);
  }
  float sums[kGroups * kLanes];
  for (size_t group = 0; group < kGroups; ++group) {
    _mm256_storeu_ps(sums + group * kLanes, sum[group]);
  }
  for (size_t i = 0; i < count; ++i) {
    __m128 one = _mm_load_ss(sums + i);
    for (size_t rest = k; rest < dims; ++rest) {
      one = _mm_fmadd_ss(_mm_load_ss(rows_a[i / kLanes][i % kLanes] + rest),
                         _mm_load_ss(rows_b[i / kLanes][i % kLanes] + rest), one);
    }
    _mm_store_ss(similarity + i, one);
  }
}

}  // namespace

LONGVLM_TARGET_AVX2 void Similarities_avx2(const float* a, const float* b, const RowPair* pairs,
                                           size_t count, size_t dims, float* similarity) {
  for (size_t i = 0; i < count;) {
    const size_t left = count - i;
    if (left > kLanes) {
      const size_t here = std::min(left, 2 * kLanes);
      Chains<2>(a, b, pairs + i, here, dims, similarity + i);
      i += here;
    } else {
      Chains<1>(a, b, pairs + i, left, dims, similarity + i);
      i += left;
    }
  }
}

}  // namespace longvlm

#endif  // LONGVLM_X86
