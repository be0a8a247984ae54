#include "kernels/dispatch.h"
#include "kernels/gaussian_sums.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <array>
#include <bit>

namespace longvlm {
namespace {

LONGVLM_TARGET_AVX2 inline __m256d Load4(const float* from) {
  return _mm256_cvtps_pd(_mm_loadu_ps(from));
}

LONGVLM_TARGET_AVX2 inline __m256d Scaled(__m256d value, __m256d scale) {
  return _mm256_cvtps_pd(_mm256_cvtpd_ps(_mm256_mul_pd(value, scale)));
}

// The places of the bits that are set in a byte, for each byte.
constexpr std::array<std::array<uint8_t, 8>, 256> MakePlaces() {
  std::array<std::array<uint8_t, 8>, 256> places{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    size_t count = 0;
    for (uint8_t bit = 0; bit < 8; ++bit) {
      if ((byte >> bit & 1) != 0) places[byte][count++] = bit;
    }
  }
  return places;
}
constexpr auto kPlaces = MakePlaces();

// kRows rows at a time: sums are loaded and stored once for all of them. Rows are far apart, so the
// next ones are prefetched.
template <size_t kRows>
LONGVLM_TARGET_AVX2 inline void AddRows(const float* rows, size_t stride, size_t width, bool more,
                                        double* sums, double* squares) {
  constexpr size_t kValuesPerLine = 16;
  size_t c = 0;
  for (; c + 4 <= width; c += 4) {
    if (more && c % kValuesPerLine == 0) {
      for (size_t r = kRows; r < 2 * kRows; ++r) {
        _mm_prefetch(reinterpret_cast<const char*>(rows + r * stride + c), _MM_HINT_T0);
      }
    }
    __m256d sum = _mm256_loadu_pd(sums + c);
    __m256d square = _mm256_loadu_pd(squares + c);
    for (size_t r = 0; r < kRows; ++r) {
      const __m256d value = Load4(rows + r * stride + c);
      sum = _mm256_add_pd(sum, value);
      // The square of a float32 is exact in float64, so fusing its addition does not change it.
      square = _mm256_fmadd_pd(value, value, square);
    }
    _mm256_storeu_pd(sums + c, sum);
    _mm256_storeu_pd(squares + c, square);
  }
  AddMoments_portable(rows + c, stride, kRows, width - c, sums + c, squares + c);
}

}  // namespace

LONGVLM_TARGET_AVX2 void AddMoments_avx2(const float* rows, size_t stride, size_t count,
                                         size_t width, double* sums, double* squares) {
  constexpr size_t kRows = 4;
  size_t row = 0;
  for (; row + kRows <= count; row += kRows) {
    AddRows<kRows>(rows + row * stride, stride, width, row + 2 * kRows <= count, sums, squares);
  }
  AddMoments_portable(rows + row * stride, stride, count - row, width, sums, squares);
}

LONGVLM_TARGET_AVX2 void SelectChannels_avx2(const float* row, const uint16_t* chosen, size_t width,
                                             float* out) {
  size_t first = 0;
  for (; first + 16 <= width; first += 16) {
    for (size_t half = 0; half < 16; half += 8) {
      const uint32_t mask = chosen[first / 16] >> half & 0xff;
      const __m128i places =
          _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kPlaces[mask].data()));
      const __m256 values = _mm256_loadu_ps(row + first + half);
      _mm256_storeu_ps(out, _mm256_permutevar8x32_ps(values, _mm256_cvtepu8_epi32(places)));
      out += std::popcount(mask);
    }
  }
  SelectChannels_portable(row + first, chosen + first / 16, width - first, out);
}

LONGVLM_TARGET_AVX2 void AddScaledRows_avx2(const float* rows, size_t stride, const double* scales,
                                            size_t count, size_t width, double* sums) {
  constexpr size_t kRows = 4;
  size_t row = 0;
  for (; row + kRows <= count; row += kRows) {
    const float* from = rows + row * stride;
    size_t c = 0;
    for (; c + 4 <= width; c += 4) {
      __m256d sum = _mm256_loadu_pd(sums + c);
      for (size_t r = 0; r < kRows; ++r) {
        const __m256d value = Load4(from + r * stride + c);
        sum = _mm256_add_pd(sum, Scaled(value, _mm256_broadcast_sd(scales + row + r)));
      }
      _mm256_storeu_pd(sums + c, sum);
    }
    AddScaledRows_portable(from + c, stride, scales + row, kRows, width - c, sums + c);
  }
  AddScaledRows_portable(rows + row * stride, stride, scales + row, count - row, width, sums);
}

LONGVLM_TARGET_AVX2 void SquaredDistances_avx2(const float* rows, size_t stride,
                                               const double* scales, size_t count, Centres centres,
                                               size_t dims, double* squares) {
  constexpr size_t kRows = 4;
  size_t row = 0;
  for (; row + kRows <= count; row += kRows) {
    const float* from = rows + row * stride;
    const __m256d scale = _mm256_loadu_pd(scales + row);
    __m256d sums[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
    // The same channel of four rows. Not fused: the square is rounded.
    const auto add = [&](__m128 channel, size_t c) LONGVLM_TARGET_AVX2 {
      const __m256d value = Scaled(_mm256_cvtps_pd(channel), scale);
      const __m256d first = _mm256_sub_pd(value, _mm256_broadcast_sd(centres.first + c));
      const __m256d second = _mm256_sub_pd(value, _mm256_broadcast_sd(centres.second + c));
      sums[0] = _mm256_add_pd(sums[0], _mm256_mul_pd(first, first));
      sums[1] = _mm256_add_pd(sums[1], _mm256_mul_pd(second, second));
    };
    size_t c = 0;
    for (; c + 4 <= dims; c += 4) {
      __m128 channels[kRows];
      for (size_t r = 0; r < kRows; ++r) channels[r] = _mm_loadu_ps(from + r * stride + c);
      _MM_TRANSPOSE4_PS(channels[0], channels[1], channels[2], channels[3]);
      for (size_t i = 0; i < 4; ++i) add(channels[i], c + i);
    }
    for (; c < dims; ++c) {
      add(_mm_setr_ps(from[c], from[stride + c], from[2 * stride + c], from[3 * stride + c]), c);
    }
    _mm256_storeu_pd(squares + row, sums[0]);
    _mm256_storeu_pd(squares + count + row, sums[1]);
  }
  for (; row < count; ++row) {
    double left[2];
    SquaredDistances_portable(rows + row * stride, stride, scales + row, 1, centres, dims, left);
    squares[row] = left[0];
    squares[count + row] = left[1];
  }
}

}  // namespace longvlm

#endif  // LONGVLM_X86
