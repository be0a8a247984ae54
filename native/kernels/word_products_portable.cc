#include <algorithm>

#include "kernels/panels.h"
#include "kernels/word_products.h"

namespace longvlm {
namespace {

int32_t Low(int32_t pair) { return static_cast<int16_t>(pair & 0xffff); }
int32_t High(int32_t pair) { return pair >> 16; }

}  // namespace

void WordProducts_portable(const int32_t* a, const int32_t* b, size_t panels, size_t dims,
                           size_t /*columns*/, int32_t* product) {
  constexpr size_t kA = kPanelWidthAPortable;
  constexpr size_t kB = kPanelWidthBPortable;
  const size_t pairs = (dims + 1) / 2;
  for (size_t panel = 0; panel < panels; ++panel, b += pairs * kB, product += kB * kA) {
    int32_t sum[kB][kA] = {};
    for (size_t k = 0; k < pairs; ++k) {
      for (size_t j = 0; j < kB; ++j) {
        const int32_t low = Low(b[k * kB + j]);
        const int32_t high = High(b[k * kB + j]);
        for (size_t i = 0; i < kA; ++i) {
          sum[j][i] += Low(a[k * kA + i]) * low + High(a[k * kA + i]) * high;
        }
      }
    }
    std::copy_n(sum[0], kA * kB, product);
  }
}

}  // namespace longvlm
