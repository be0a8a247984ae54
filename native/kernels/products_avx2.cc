#include "kernels/panel_products_avx2.h"
#include "kernels/products.h"

#if defined(LONGVLM_X86)

namespace longvlm {
namespace {

struct Store {
  float* product;

  LONGVLM_TARGET_AVX2 inline void operator()(size_t row, __m256 left, __m256 right) {
    float* to = product + row * kPanelWidthAAvx2;
    _mm256_storeu_ps(to, left);
    _mm256_storeu_ps(to + 8, right);
  }
};

}  // namespace

LONGVLM_TARGET_AVX2 void Products_avx2(const float* a, const float* b, size_t num_b, size_t dims,
                                       float* product) {
  Store store{product};
  ForProductsAvx2(a, b, num_b, dims, store);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
