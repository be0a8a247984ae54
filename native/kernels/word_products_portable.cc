#include "kernels/word_products.h"

namespace longvlm {

void WordProducts_portable(const int16_t* const* a, size_t count_a, const int16_t* const* b,
                           size_t count_b, size_t dims, int32_t* product, size_t stride) {
  for (size_t i = 0; i < count_a; ++i) {
    for (size_t j = 0; j < count_b; ++j) {
      const int16_t* left = a[i];
      const int16_t* right = b[j];
      int32_t sum = 0;
      for (size_t k = 0; k < dims; ++k) sum += int32_t{left[k]} * int32_t{right[k]};
      product[i * stride + j] = sum;
    }
  }
}

}  // namespace longvlm
