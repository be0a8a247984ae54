#include "core/screen_margin.h"

#include <cmath>

#include "kernels/dispatch.h"

namespace longvlm {
namespace {

constexpr double kLongest = 1 + 0x1p-22;  // of rows that were scaled to length 1

// `lost_a` and `lost_b` are |x| and |y|.
double Margin(double scale_a, double lost_a, double scale_b, double lost_b, size_t dims) {
  const double longest_a = scale_a * kLongest + lost_a;
  const double apart = lost_a * scale_b * kLongest + longest_a * lost_b;
  const double chain = static_cast<double>(dims) * 0x1p-23 * scale_a * scale_b;
  return 2 * (apart + chain) + 2 * (chain + 0x1p-21 * scale_a * scale_b);
}

// |x| or |y|, not below the truth.
double LostLength(float squares, size_t dims) {
  static_assert(kScreenMaxByteDims == 128 * 128);
  constexpr double kOfT = 128 * 128 * 0x1p-24;
  return std::sqrt(static_cast<double>(squares)) * (1 + static_cast<double>(dims) * 0x1p-23) + kOfT;
}

}  // namespace

double WordMargin(size_t dims) {
  constexpr double kScale = static_cast<double>(kScreenScale);
  const double lost = 0.51 * std::sqrt(static_cast<double>(dims));
  return Margin(kScale, lost, kScale, lost, dims);
}

int32_t ByteMargin(const ByteScale& a, const ByteScale& b, size_t dims) {
  return static_cast<int32_t>(
      std::ceil(Margin(static_cast<double>(a.scale), LostLength(a.squares, dims),
                       static_cast<double>(b.scale), LostLength(b.squares, dims), dims)));
}

}  // namespace longvlm
