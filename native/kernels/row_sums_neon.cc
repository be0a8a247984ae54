#include "kernels/dispatch.h"
#include "kernels/half.h"
#include "kernels/neon_load.h"
#include "kernels/row_sums.h"

#if defined(LONGVLM_ARM64)

#include <arm_neon.h>

#include <algorithm>

namespace longvlm {
namespace {

void Store4(float64x2_t low, float64x2_t high, float* to) {
  vst1q_f32(to, vcvt_high_f32_f64(vcvt_f32_f64(low), high));
}

void Store4(float64x2_t low, float64x2_t high, uint16_t* to) {
  const float32x4_t value = vcvt_high_f32_f64(vcvt_f32_f64(low), high);
  vst1_u16(to, vreinterpret_u16_f16(vcvt_f16_f32(value)));
}

// kRows rows at a time: the sum is loaded and stored once for all of them.
template <size_t kRows, typename T>
void AddRows(const T* base, const size_t* offsets, const float* weights, size_t width,
             double* sum) {
  size_t c = 0;
  for (; c + 4 <= width; c += 4) {
    FourDoubles total{vld1q_f64(sum + c), vld1q_f64(sum + c + 2)};
    for (size_t r = 0; r < kRows; ++r) {
      const FourDoubles value = Load4(base + offsets[r] + c);
      const double weight = weights == nullptr ? 1.0 : static_cast<double>(weights[r]);
      total = {vfmaq_n_f64(total.low, value.low, weight),
               vfmaq_n_f64(total.high, value.high, weight)};
    }
    vst1q_f64(sum + c, total.low);
    vst1q_f64(sum + c + 2, total.high);
  }
  for (; c < width; ++c) {
    for (size_t r = 0; r < kRows; ++r) {
      const double weight = weights == nullptr ? 1.0 : static_cast<double>(weights[r]);
      sum[c] += ToDouble(base[offsets[r] + c]) * weight;
    }
  }
}

template <typename T>
void SumRows(const T* base, const size_t* offsets, const float* weights, size_t count, size_t width,
             double* sum) {
  std::fill_n(sum, width, 0.0);
  size_t r = 0;
  for (; r + 4 <= count; r += 4) {
    AddRows<4>(base, offsets + r, weights == nullptr ? nullptr : weights + r, width, sum);
  }
  for (; r < count; ++r) {
    AddRows<1>(base, offsets + r, weights == nullptr ? nullptr : weights + r, width, sum);
  }
}

template <typename T>
void StoreMeans(const double* sum, double divisor, size_t width, T* out) {
  const float64x2_t divisors = vdupq_n_f64(divisor);
  size_t c = 0;
  for (; c + 4 <= width; c += 4) {
    Store4(vdivq_f64(vld1q_f64(sum + c), divisors), vdivq_f64(vld1q_f64(sum + c + 2), divisors),
           out + c);
  }
  for (; c < width; ++c) FromFloat(static_cast<float>(sum[c] / divisor), &out[c]);
}

}  // namespace

void SumRowsF32_neon(const float* base, const size_t* offsets, const float* weights, size_t count,
                     size_t width, double* sum) {
  SumRows(base, offsets, weights, count, width, sum);
}

void SumRowsF16_neon(const uint16_t* base, const size_t* offsets, const float* weights,
                     size_t count, size_t width, double* sum) {
  SumRows(base, offsets, weights, count, width, sum);
}

void SumRowsF64_neon(const double* base, const size_t* offsets, const float* weights, size_t count,
                     size_t width, double* sum) {
  SumRows(base, offsets, weights, count, width, sum);
}

void StoreMeansF32_neon(const double* sum, double divisor, size_t width, float* out) {
  StoreMeans(sum, divisor, width, out);
}

void StoreMeansF16_neon(const double* sum, double divisor, size_t width, uint16_t* out) {
  StoreMeans(sum, divisor, width, out);
}

}  // namespace longvlm

#endif  // LONGVLM_ARM64
