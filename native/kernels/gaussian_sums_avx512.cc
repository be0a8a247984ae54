#include "kernels/dispatch.h"
#include "kernels/gaussian_sums.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <bit>

namespace longvlm {

LONGVLM_TARGET_AVX512 void SelectChannels_avx512(const float* row, const uint16_t* chosen,
                                                 size_t width, float* out) {
  for (size_t first = 0; first < width; first += 16) {
    const __mmask16 mask = chosen[first / 16];
    const auto count = static_cast<uint32_t>(std::popcount(chosen[first / 16]));
    const __m512 values = _mm512_maskz_loadu_ps(mask, row + first);
    // A whole vector would be written beyond the end of `out`.
    const auto written = static_cast<__mmask16>((1u << count) - 1);
    _mm512_mask_storeu_ps(out, written, _mm512_maskz_compress_ps(mask, values));
    out += count;
  }
}

}  // namespace longvlm

#endif  // LONGVLM_X86
