#include "kernels/panel_products_avx512.h"
#include "kernels/products.h"

#if defined(LONGVLM_X86)

namespace longvlm {
namespace {

struct Store {
  float* product;

  LONGVLM_TARGET_AVX512 inline void operator()(size_t row, __m512 left, __m512 right) {
    float* to = product + row * kPanelWidthAAvx512;
    _mm512_storeu_ps(to, left);
    _mm512_storeu_ps(to + 16, right);
  }
};

}  // namespace

LONGVLM_TARGET_AVX512 void Products_avx512(const float* a, const float* b, size_t num_b,
                                           size_t dims, float* product) {
  Store store{product};
  ForProductsAvx512(a, b, num_b, dims, store);
}

}  // namespace longvlm

#endif  // LONGVLM_X86
