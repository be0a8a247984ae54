#include "kernels/best_match.h"
#include "kernels/dispatch.h"
#include "kernels/panels.h"

#if defined(LONGVLM_ARM64)

#include <arm_neon.h>

#include <limits>

namespace longvlm {
namespace {

constexpr size_t kA = kPanelWidthANeon;
constexpr size_t kB = kPanelWidthBNeon;
constexpr size_t kVectors = kA / 4;

// Adds the products of lane kLane of `b` to the sums of one row of B.
template <int kLane>
inline void AddProducts(const float32x4_t* a, float32x4_t b, float32x4_t* sums) {
  for (size_t i = 0; i < kVectors; ++i) sums[i] = vfmaq_laneq_f32(sums[i], a[i], b, kLane);
}

}  // namespace

void BestMatch_neon(const float* a, const float* b, size_t num_b, size_t dims, float* best,
                    int32_t* index) {
  float32x4_t highest[kVectors];
  uint32x4_t rows[kVectors];
  for (size_t i = 0; i < kVectors; ++i) {
    highest[i] = vdupq_n_f32(-std::numeric_limits<float>::infinity());
    rows[i] = vdupq_n_u32(0);
  }
  for (size_t first = 0; first < num_b; first += kB) {
    float32x4_t sums[kB][kVectors];
    for (size_t j = 0; j < kB; ++j) {
      for (size_t i = 0; i < kVectors; ++i) sums[j][i] = vdupq_n_f32(0);
    }
    const float* a_row = a;
    for (size_t k = 0; k < dims; ++k, a_row += kA, b += kB) {
      const float32x4_t columns[kVectors] = {vld1q_f32(a_row), vld1q_f32(a_row + 4),
                                             vld1q_f32(a_row + 8)};
      const float32x4_t low = vld1q_f32(b);
      const float32x4_t high = vld1q_f32(b + 4);
      AddProducts<0>(columns, low, sums[0]);
      AddProducts<1>(columns, low, sums[1]);
      AddProducts<2>(columns, low, sums[2]);
      AddProducts<3>(columns, low, sums[3]);
      AddProducts<0>(columns, high, sums[4]);
      AddProducts<1>(columns, high, sums[5]);
      AddProducts<2>(columns, high, sums[6]);
      AddProducts<3>(columns, high, sums[7]);
    }
    // Ascending b with a strict comparison: the lowest index keeps a tie.
    for (size_t j = 0; j < kB && first + j < num_b; ++j) {
      const uint32x4_t row = vdupq_n_u32(static_cast<uint32_t>(first + j));
      for (size_t i = 0; i < kVectors; ++i) {
        const uint32x4_t higher = vcgtq_f32(sums[j][i], highest[i]);
        highest[i] = vbslq_f32(higher, sums[j][i], highest[i]);
        rows[i] = vbslq_u32(higher, row, rows[i]);
      }
    }
  }
  for (size_t i = 0; i < kVectors; ++i) {
    vst1q_f32(best + 4 * i, highest[i]);
    vst1q_s32(index + 4 * i, vreinterpretq_s32_u32(rows[i]));
  }
}

}  // namespace longvlm

#endif  // LONGVLM_ARM64
