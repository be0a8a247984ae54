#include "core/screen_margin.h"

#include <cmath>

#include "kernels/dispatch.h"

namespace longvlm {
namespace {

constexpr double kLongest = 1 + 0x1p-22;  // of rows that were scaled to length 1
constexpr double kWordScale = static_cast<double>(kScreenScale);

// `lost_a` and `lost_b` are |x| and |y|.
double Margin(double scale_a, double lost_a, double scale_b, double lost_b, size_t dims) {
  const double longest_a = scale_a * kLongest + lost_a;
  const double apart = lost_a * scale_b * kLongest + longest_a * lost_b;
  const double chain = static_cast<double>(dims) * 0x1.2p-24 * scale_a * scale_b;
  return 2 * (apart + chain) + 2 * (chain + 0x1p-21 * scale_a * scale_b);
}

// |x| or |y|, not below the truth: from the sum of the squares of t - q, and how long t less the
// scaled row is at most.
double LostLength(float squares, double of_t, size_t dims) {
  return std::sqrt(static_cast<double>(squares)) * (1 + static_cast<double>(dims) * 0x1p-23) + of_t;
}

double LostBytes(const ByteScale& row, size_t dims) {
  static_assert(kScreenMaxByteDims == 128 * 128);
  return LostLength(row.squares, 128 * 128 * 0x1p-24, dims);
}

double LostWords(float squares, size_t dims) {
  return LostLength(squares, 4 * kWordScale * 0x1p-24, dims);
}

}  // namespace

double WordMargin(size_t dims) {
  const double lost = 0.51 * std::sqrt(static_cast<double>(dims));
  return Margin(kWordScale, lost, kWordScale, lost, dims);
}

int32_t WordMargin(float squares_a, float squares_b, size_t dims) {
  return static_cast<int32_t>(std::ceil(Margin(kWordScale, LostWords(squares_a, dims), kWordScale,
                                               LostWords(squares_b, dims), dims)));
}

int32_t ByteMargin(const ByteScale& a, const ByteScale& b, size_t dims) {
  return static_cast<int32_t>(
      std::ceil(Margin(static_cast<double>(a.scale), LostBytes(a, dims),
                       static_cast<double>(b.scale), LostBytes(b, dims), dims)));
}

}  // namespace longvlm
