#include <algorithm>
#include <limits>

#include "kernels/best_match.h"
#include "kernels/fused.h"
#include "kernels/panels.h"

namespace longvlm {
namespace {

constexpr size_t kA = kPanelWidthAPortable;
constexpr size_t kB = kPanelWidthBPortable;

// One step of all chains. False if one of them would round twice; `similarity` is then incomplete.
bool StepRoundingOnce(const float* a, const float* b, float (*similarity)[kA]) {
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

void Product(const float* a, const float* b, size_t dims, float (*similarity)[kA]) {
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

}  // namespace

void BestMatch_portable(const float* a, const float* b, size_t num_b, size_t dims, float* best,
                        int32_t* index) {
  std::fill_n(best, kA, -std::numeric_limits<float>::infinity());
  std::fill_n(index, kA, 0);
  for (size_t first = 0; first < num_b; first += kB, b += dims * kB) {
    float similarity[kB][kA] = {};
    Product(a, b, dims, similarity);
    const size_t columns = std::min(kB, num_b - first);
    for (size_t j = 0; j < columns; ++j) {
      for (size_t i = 0; i < kA; ++i) {
        if (similarity[j][i] > best[i]) {
          best[i] = similarity[j][i];
          index[i] = static_cast<int32_t>(first + j);
        }
      }
    }
  }
}

}  // namespace longvlm
