// The inner loop of the products of a panel of A with rows of B, in plain arithmetic.
#pragma once

#include <algorithm>

#include "kernels/fused.h"
#include "kernels/panels.h"

namespace longvlm {

// One step of all chains. False if one of them would round twice; `similarity` is then incomplete.
inline bool StepRoundingOnce(const float* a, const float* b,
                             float (*similarity)[kPanelWidthAPortable]) {
  constexpr size_t kA = kPanelWidthAPortable;
  constexpr size_t kB = kPanelWidthBPortable;
  uint32_t twice = 0;
  for (size_t j = 0; j < kB; ++j) {
    for (size_t i = 0; i < kA; ++i) {
      const double sum = static_cast<double>(a[i]) * static_cast<double>(b[j]) +
                         static_cast<double>(similarity[j][i]);
      twice |= static_cast<uint32_t>(RoundsTwice(sum));
      similarity[j][i] = static_cast<float>(sum);
    }
  }
  return twice == 0;
}

inline void PanelProductPortable(const float* a, const float* b, size_t dims,
                                 float (*similarity)[kPanelWidthAPortable]) {
  constexpr size_t kA = kPanelWidthAPortable;
  constexpr size_t kB = kPanelWidthBPortable;
  for (size_t k = 0; k < dims; ++k) {
    float before[kB][kA];
    std::copy_n(similarity[0], kA * kB, before[0]);
    if (StepRoundingOnce(a + k * kA, b + k * kB, similarity)) continue;
    for (size_t j = 0; j < kB; ++j) {
      for (size_t i = 0; i < kA; ++i) {
        similarity[j][i] = FusedMultiplyAdd(a[k * kA + i], b[k * kB + j], before[j][i]);
      }
    }
  }
}

// Calls visit(row, products) for every row of B in ascending order, with its products with all
// columns of the panel.
template <typename Visit>
void ForProductsPortable(const float* a, const float* b, size_t num_b, size_t dims, Visit visit) {
  constexpr size_t kA = kPanelWidthAPortable;
  constexpr size_t kB = kPanelWidthBPortable;
  for (size_t first = 0; first < num_b; first += kB, b += dims * kB) {
    float similarity[kB][kA] = {};
    PanelProductPortable(a, b, dims, similarity);
    for (size_t j = 0; j < std::min(kB, num_b - first); ++j) visit(first + j, similarity[j]);
  }
}

}  // namespace longvlm
