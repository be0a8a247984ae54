#include "kernels/dispatch.h"
#include "kernels/pack_panel.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <algorithm>

namespace longvlm {

LONGVLM_TARGET_AVX2 void PackPanel_avx2(const float* rows, size_t count, size_t first, size_t dims,
                                        size_t width, float* out) {
  const float* row[kMostPanelWidth];
  for (size_t i = 0; i < width; ++i) row[i] = rows + std::min(first + i, count - 1) * dims;
  // A cache line of each row at a time, so that what is written stays in the first-level cache;
  // four values of four rows in registers.
  constexpr size_t kValuesOfLine = 16;
  for (size_t from = 0; from < dims; from += kValuesOfLine) {
    const size_t last = std::min(from + kValuesOfLine, dims);
    const size_t last_four = from + (last - from) / 4 * 4;
    for (size_t i = 0; i < width / 4 * 4; i += 4) {
      for (size_t k = from; k < last_four; k += 4) {
        __m128 a = _mm_loadu_ps(row[i] + k);
        __m128 b = _mm_loadu_ps(row[i + 1] + k);
        __m128 c = _mm_loadu_ps(row[i + 2] + k);
        __m128 d = _mm_loadu_ps(row[i + 3] + k);
        _MM_TRANSPOSE4_PS(a, b, c, d);
        float* to = out + k * width + i;
        _mm_storeu_ps(to, a);
        _mm_storeu_ps(to + width, b);
        _mm_storeu_ps(to + 2 * width, c);
        _mm_storeu_ps(to + 3 * width, d);
      }
    }
    for (size_t i = 0; i < width; ++i) {
      const size_t begin = i < width / 4 * 4 ? last_four : from;
      for (size_t k = begin; k < last; ++k) out[k * width + i] = row[i][k];
    }
  }
}

}  // namespace longvlm

#endif  // LONGVLM_X86
