#include <bit>

#include "kernels/row_integers.h"

namespace longvlm {
namespace {

// Rounds to the nearest integer. Adding 1.5 * 2^23 leaves it in the lowest bits; compilers can
// vectorise this, but not std::lrint.
uint32_t ToWord(float value, float scale) {
  return std::bit_cast<uint32_t>(value * scale + 0x1.8p23f) & 0xffffu;
}

void ToWords(const float* row, float scale, size_t dims, int32_t* out, size_t stride) {
  constexpr size_t kPairsAtOnce = 16;
  size_t k = 0;
  for (; k + kPairsAtOnce <= dims / 2; k += kPairsAtOnce) {
    uint32_t words[2 * kPairsAtOnce];
    for (size_t i = 0; i < 2 * kPairsAtOnce; ++i) words[i] = ToWord(row[2 * k + i], scale);
    for (size_t i = 0; i < kPairsAtOnce; ++i) {
      out[(k + i) * stride] = static_cast<int32_t>(words[2 * i] | words[2 * i + 1] << 16);
    }
  }
  for (; k < (dims + 1) / 2; ++k) {
    const uint32_t high = 2 * k + 1 < dims ? ToWord(row[2 * k + 1], scale) : 0;
    out[k * stride] = static_cast<int32_t>(ToWord(row[2 * k], scale) | high << 16);
  }
}

}  // namespace

void RowWords_portable(const float* row, size_t dims, int32_t* out, size_t stride) {
  ToWords(row, kScreenScale, dims, out, stride);
}

void PackWords_portable(const float* const* rows, const float* scales, size_t count, size_t dims,
                        int32_t* out, size_t stride) {
  for (size_t i = 0; i < count; ++i) ToWords(rows[i], scales[i], dims, out + i, stride);
}

}  // namespace longvlm
