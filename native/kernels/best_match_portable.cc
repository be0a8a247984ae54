#include <algorithm>
#include <limits>

#include "kernels/best_match.h"

namespace longvlm {

void BestMatch_portable(const float* a, const float* b, size_t num_b, size_t dims, float* best,
                        int32_t* index) {
  constexpr size_t kA = kBestMatchWidthAPortable;
  constexpr size_t kB = kBestMatchWidthBPortable;
  std::fill_n(best, kA, -std::numeric_limits<float>::infinity());
  std::fill_n(index, kA, 0);
  for (size_t first = 0; first < num_b; first += kB, b += dims * kB) {
    float similarity[kB][kA] = {};
    for (size_t k = 0; k < dims; ++k) {
      for (size_t j = 0; j < kB; ++j) {
        for (size_t i = 0; i < kA; ++i) similarity[j][i] += a[k * kA + i] * b[k * kB + j];
      }
    }
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
