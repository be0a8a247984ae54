#include <algorithm>
#include <bit>

#include "kernels/row_integers.h"
#include "kernels/word_products.h"

namespace longvlm {
namespace {

// Rounds to the nearest integer. Adding 1.5 * 2^23 leaves it in the lowest bits; compilers can
// vectorise this, but not std::lrint.
uint32_t ToWord(float value, float scale) {
  return std::bit_cast<uint32_t>(value * scale + 0x1.8p23f) & 0xffffu;
}

void ToWords(const float* row, size_t dims, int32_t* out, size_t stride) {
  constexpr size_t kPairsAtOnce = 16;
  size_t k = 0;
  for (; k + kPairsAtOnce <= dims / 2; k += kPairsAtOnce) {
    uint32_t words[2 * kPairsAtOnce];
    for (size_t i = 0; i < 2 * kPairsAtOnce; ++i) words[i] = ToWord(row[2 * k + i], kScreenScale);
    for (size_t i = 0; i < kPairsAtOnce; ++i) {
      out[(k + i) * stride] = static_cast<int32_t>(words[2 * i] | words[2 * i + 1] << 16);
    }
  }
  for (; k < (dims + 1) / 2; ++k) {
    const uint32_t high = 2 * k + 1 < dims ? ToWord(row[2 * k + 1], kScreenScale) : 0;
    out[k * stride] = static_cast<int32_t>(ToWord(row[2 * k], kScreenScale) | high << 16);
  }
}

}  // namespace

void RowWords_portable(const float* row, size_t dims, int32_t* out, size_t stride) {
  ToWords(row, dims, out, stride);
}

float ScaleWords_portable(const float* row, float scale, size_t dims, int16_t* out) {
  // In lanes, which compilers can vectorise.
  constexpr size_t kLanes = 8;
  float squares[kLanes] = {};
  const auto round = [&](size_t k, float& square) {
    const auto word = static_cast<int16_t>(ToWord(row[k], scale));
    const float lost = row[k] * scale - static_cast<float>(word);
    square += lost * lost;
    out[k] = word;
  };
  size_t k = 0;
  for (; k + kLanes <= dims; k += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) round(k + lane, squares[lane]);
  }
  for (; k < dims; ++k) round(k, squares[0]);
  const size_t padded = (dims + kWordsAtOnce - 1) / kWordsAtOnce * kWordsAtOnce;
  std::fill(out + dims, out + padded, int16_t{0});
  float sum = 0;
  for (const float square : squares) sum += square;
  return sum;
}

}  // namespace longvlm
