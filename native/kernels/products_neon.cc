#include "kernels/panel_products_neon.h"
#include "kernels/products.h"

#if defined(LONGVLM_ARM64)

namespace longvlm {
namespace {

struct Store {
  float* product;

  inline void operator()(size_t row, const float32x4_t* sums) {
    for (size_t i = 0; i < kVectorsNeon; ++i) {
      vst1q_f32(product + row * kPanelWidthANeon + 4 * i, sums[i]);
    }
  }
};

}  // namespace

void Products_neon(const float* a, const float* b, size_t num_b, size_t dims, float* product) {
  Store store{product};
  ForProductsNeon(a, b, num_b, dims, store);
}

}  // namespace longvlm

#endif  // LONGVLM_ARM64
