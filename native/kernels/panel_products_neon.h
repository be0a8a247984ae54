// The inner loop of the products of a panel of A with rows of B, on NEON.
#pragma once

#include "kernels/dispatch.h"
#include "kernels/panels.h"

#if defined(LONGVLM_ARM64)

#include <arm_neon.h>

namespace longvlm {

inline constexpr size_t kVectorsNeon = kPanelWidthANeon / 4;

// Adds the products of lane kLane of `b` to the sums of one row of B.
template <int kLane>
inline void AddProductsNeon(const float32x4_t* a, float32x4_t b, float32x4_t* sums) {
  for (size_t i = 0; i < kVectorsNeon; ++i) sums[i] = vfmaq_laneq_f32(sums[i], a[i], b, kLane);
}

// Calls visit(row, sums) for every row of B in ascending order, with its products with all columns
// of the panel, four in each vector.
template <typename Visit>
inline void ForProductsNeon(const float* a, const float* b, size_t num_b, size_t dims,
                            Visit& visit) {
  constexpr size_t kA = kPanelWidthANeon;
  constexpr size_t kB = kPanelWidthBNeon;
  constexpr size_t kVectors = kVectorsNeon;
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
      AddProductsNeon<0>(columns, low, sums[0]);
      AddProductsNeon<1>(columns, low, sums[1]);
      AddProductsNeon<2>(columns, low, sums[2]);
      AddProductsNeon<3>(columns, low, sums[3]);
      AddProductsNeon<0>(columns, high, sums[4]);
      AddProductsNeon<1>(columns, high, sums[5]);
      AddProductsNeon<2>(columns, high, sums[6]);
      AddProductsNeon<3>(columns, high, sums[7]);
    }
    for (size_t j = 0; j < kB && first + j < num_b; ++j) visit(first + j, sums[j]);
  }
}

}  // namespace longvlm

#endif  // LONGVLM_ARM64
