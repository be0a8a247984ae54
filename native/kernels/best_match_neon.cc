#include "kernels/best_match.h"
#include "kernels/panel_products_neon.h"

#if defined(LONGVLM_ARM64)

#include <limits>

namespace longvlm {
namespace {

// Ascending b with a strict comparison: the lowest index keeps a tie.
struct FoldBest {
  float32x4_t highest[kVectorsNeon];
  uint32x4_t rows[kVectorsNeon];

  inline void operator()(size_t row_of_b, const float32x4_t* sums) {
    const uint32x4_t row = vdupq_n_u32(static_cast<uint32_t>(row_of_b));
    for (size_t i = 0; i < kVectorsNeon; ++i) {
      const uint32x4_t higher = vcgtq_f32(sums[i], highest[i]);
      highest[i] = vbslq_f32(higher, sums[i], highest[i]);
      rows[i] = vbslq_u32(higher, row, rows[i]);
    }
  }
};

}  // namespace

void BestMatch_neon(const float* a, const float* b, size_t num_b, size_t dims, float* best,
                    int32_t* index) {
  FoldBest fold;
  for (size_t i = 0; i < kVectorsNeon; ++i) {
    fold.highest[i] = vdupq_n_f32(-std::numeric_limits<float>::infinity());
    fold.rows[i] = vdupq_n_u32(0);
  }
  ForProductsNeon(a, b, num_b, dims, fold);
  for (size_t i = 0; i < kVectorsNeon; ++i) {
    vst1q_f32(best + 4 * i, fold.highest[i]);
    vst1q_s32(index + 4 * i, vreinterpretq_s32_u32(fold.rows[i]));
  }
}

}  // namespace longvlm

#endif  // LONGVLM_ARM64
