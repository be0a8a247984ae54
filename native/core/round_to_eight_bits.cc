#include "core/round_to_eight_bits.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace longvlm {
namespace {

// Two products of such an integer and a byte stay below 2^15, where CPUs without VNNI saturate: the
// same result on all.
constexpr double kLargest = 63;

// Row after row, each integer would be written to another line of memory: blocks are rounded, then
// transposed, so that whole lines are written, and some that follow one another.
constexpr size_t kRows = 128;
constexpr size_t kColumns = 64;

// The formats of floats. Infinity has the least bits of all magnitudes that are not finite.
struct Float32 {
  using Bits = uint32_t;
  static constexpr Bits kInfinity = 0x7f800000;
  static float ToFloat(Bits bits) { return std::bit_cast<float>(bits); }
};

struct Float16 {
  using Bits = uint16_t;
  static constexpr Bits kInfinity = 0x7c00;
  // Of finite numbers alone, and without a branch, so that compilers make vectors of it.
  static float ToFloat(Bits bits) {
    const uint32_t magnitude = bits & 0x7fffu;
    const float normal = std::bit_cast<float>((magnitude << 13) + 0x38000000u);  // 127 - 15
    const float subnormal = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f;
    const auto found = std::bit_cast<uint32_t>(magnitude < 0x400 ? subnormal : normal);
    return std::bit_cast<float>(found | (static_cast<uint32_t>(bits & 0x8000u) << 16));
  }
};

struct Bfloat16 {
  using Bits = uint16_t;
  static constexpr Bits kInfinity = 0x7f80;
  static float ToFloat(Bits bits) {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};

template <typename Format>
float ScaleOf(const typename Format::Bits* row, size_t count) {
  using Bits = typename Format::Bits;
  constexpr auto kMagnitude = static_cast<Bits>(std::numeric_limits<Bits>::max() >> 1);
  // Magnitudes are in the order of their bits, NaN's above infinity's.
  Bits most = 0;
  for (size_t i = 0; i < count; ++i) most = std::max(most, static_cast<Bits>(row[i] & kMagnitude));
  if (most == 0) return 1;
  if (most >= Format::kInfinity) return std::numeric_limits<float>::infinity();
  return static_cast<float>(static_cast<double>(Format::ToFloat(most)) / kLargest);
}

template <typename Format>
void RoundRow(const typename Format::Bits* row, size_t count, float scale, int8_t* out) {
  if (scale == 0 || !std::isfinite(scale)) {
    std::memset(out, 0, count);
    return;
  }
  // Above the magnitude of any quotient, even by a scale that was rounded to float32's smallest
  // number, so that truncation rounds down.
  constexpr int kShift = 128;
  for (size_t i = 0; i < count; ++i) {
    const double quotient = static_cast<double>(Format::ToFloat(row[i])) / scale;
    out[i] = static_cast<int8_t>(static_cast<int>(quotient + (kShift + 0.5)) - kShift);
  }
}

// Exchanges the bits of `mask` in `b` with those `distance` above them in `a`.
void Exchange(uint64_t& a, uint64_t& b, int distance, uint64_t mask) {
  const uint64_t differing = ((a >> distance) ^ b) & mask;
  a ^= differing << distance;
  b ^= differing;
}

// Transposes 8 x 8 bytes of a block: quarters, quarters of these, and pairs change their places.
void TransposeEight(const int8_t* in, int8_t* out) {
  uint64_t rows[8];
  for (size_t row = 0; row < 8; ++row) std::memcpy(rows + row, in + row * kColumns, 8);
  for (size_t row = 0; row < 4; ++row) Exchange(rows[row], rows[row + 4], 32, 0xffffffff);
  for (const size_t row : {0, 1, 4, 5}) Exchange(rows[row], rows[row + 2], 16, 0xffff0000ffff);
  for (size_t row = 0; row < 8; row += 2) Exchange(rows[row], rows[row + 1], 8, 0xff00ff00ff00ff);
  for (size_t row = 0; row < 8; ++row) std::memcpy(out + row * kRows, rows + row, 8);
}

// Transposes the first `rows` of a block.
void Transpose(const int8_t* block, size_t rows, int8_t* out) {
  for (size_t row = 0; row < rows; row += 8) {
    for (size_t column = 0; column < kColumns; column += 8) {
      TransposeEight(block + row * kColumns + column, out + column * kRows + row);
    }
  }
}

template <typename Format>
void RoundBlock(const RoundToEightBitsArgs& args, size_t top, size_t rows) {
  const auto* values =
      static_cast<const typename Format::Bits*>(args.rows.data) + top * args.inputs;
  float* scales = args.out_scales + args.first + top;
  for (size_t row = 0; row < rows; ++row) {
    scales[row] = ScaleOf<Format>(values + row * args.inputs, args.inputs);
  }
  int8_t block[kRows * kColumns] = {};
  int8_t transposed[kColumns * kRows];
  for (size_t left = 0; left < args.inputs; left += kColumns) {
    const size_t columns = std::min(kColumns, args.inputs - left);
    for (size_t row = 0; row < rows; ++row) {
      RoundRow<Format>(values + row * args.inputs + left, columns, scales[row],
                       block + row * kColumns);
    }
    Transpose(block, rows, transposed);
    for (size_t column = 0; column < columns; ++column) {
      std::memcpy(args.out_values + (left + column) * args.outputs + args.first + top,
                  transposed + column * kRows, rows);
    }
  }
}

}  // namespace

void RoundToEightBits(const RoundToEightBitsArgs& args, const Workers& workers) {
  const auto round = [&]() -> void (*)(const RoundToEightBitsArgs&, size_t, size_t) {
    switch (args.rows.type) {
      case ElementType::kFloat32:
        return RoundBlock<Float32>;
      case ElementType::kFloat16:
        return RoundBlock<Float16>;
      case ElementType::kBfloat16:
        return RoundBlock<Bfloat16>;
      default:
        throw std::invalid_argument("matrices are float32, float16 or bfloat16");
    }
  }();
  workers.For((args.count + kRows - 1) / kRows, [&](size_t block) {
    const size_t top = block * kRows;
    round(args, top, std::min(kRows, args.count - top));
  });
}

}  // namespace longvlm
