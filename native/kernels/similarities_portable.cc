#include "kernels/fused.h"
#include "kernels/similarities.h"

namespace longvlm {

void Similarities_portable(const float* a, const float* b, const RowPair* pairs, size_t count,
                           size_t dims, float* similarity) {
  for (size_t i = 0; i < count; ++i) {
    const float* row_a = a + pairs[i].row_of_a * dims;
    const float* row_b = b + pairs[i].row_of_b * dims;
    float sum = 0;
    for (size_t k = 0; k < dims; ++k) sum = FusedMultiplyAdd(row_a[k], row_b[k], sum);
    similarity[i] = sum;
  }
}

}  // namespace longvlm
