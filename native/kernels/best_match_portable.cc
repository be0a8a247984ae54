#include <algorithm>
#include <limits>

#include "kernels/best_match.h"
#include "kernels/panel_products_portable.h"

namespace longvlm {

void BestMatch_portable(const float* a, const float* b, size_t num_b, size_t dims, float* best,
                        int32_t* index) {
  constexpr size_t kA = kPanelWidthAPortable;
  std::fill_n(best, kA, -std::numeric_limits<float>::infinity());
  std::fill_n(index, kA, 0);
  // Ascending b with a strict comparison: the lowest index keeps a tie.
  ForProductsPortable(a, b, num_b, dims, [best, index](size_t row, const float* similarity) {
    for (size_t i = 0; i < kA; ++i) {
      if (similarity[i] > best[i]) {
        best[i] = similarity[i];
        index[i] = static_cast<int32_t>(row);
      }
    }
  });
}

}  // namespace longvlm
