#include <algorithm>

#include "kernels/panel_products_portable.h"
#include "kernels/products.h"

namespace longvlm {

void Products_portable(const float* a, const float* b, size_t num_b, size_t dims, float* product) {
  ForProductsPortable(a, b, num_b, dims, [product](size_t row, const float* similarity) {
    std::copy_n(similarity, kPanelWidthAPortable, product + row * kPanelWidthAPortable);
  });
}

}  // namespace longvlm
