#include "core/tensor.h"

#include <bit>
#include <cmath>
#include <string>

#include "core/error.h"
#include "kernels/half.h"

namespace longvlm {

void CheckFinite(const float* values, size_t count) {
  constexpr uint32_t kExponent = 0x7f800000u;
  uint32_t bad = 0;
  for (size_t i = 0; i < count; ++i) {
    bad |= static_cast<uint32_t>((std::bit_cast<uint32_t>(values[i]) & kExponent) == kExponent);
  }
  if (bad != 0) throw NotFinite();
}

void CheckFinite(const double* values, size_t count) {
  // Zero times a value is NaN if the value is not finite, and else zero. Several sums hide the
  // latency; compilers make vectors of them, but not of comparisons of 64-bit integers on any x86.
  constexpr size_t kSums = 8;
  double sums[kSums] = {};
  size_t i = 0;
  for (; i + kSums <= count; i += kSums) {
    for (size_t k = 0; k < kSums; ++k) sums[k] += values[i + k] * 0.0;
  }
  for (; i < count; ++i) sums[0] += values[i] * 0.0;
  for (size_t k = 1; k < kSums; ++k) sums[0] += sums[k];
  if (std::isnan(sums[0])) throw NotFinite();
}

namespace {

constexpr const char* kCode = "ERR_LONGVLM_NOT_FINITE";

}  // namespace

void ThrowNotFiniteAt(const char* what, size_t index, const Shape& shape,
                      const TensorNames& names) {
  const std::array<size_t, 3> position{index / shape.width / shape.rows,
                                       index / shape.width % shape.rows, index % shape.width};
  std::string message = std::string(names.tensor) + " holds " + what + " at ";
  for (size_t axis = 0; axis < 3; ++axis) {
    message += std::string(axis == 0 ? "" : ", ") + names.axes[axis] + " " +
               std::to_string(position[axis]);
  }
  throw Error(kCode, message +
                         ". Only finite values can be averaged: look at what made the tensor, for "
                         "example a float16 overflow in the vision tower.");
}

void ThrowNotFinite(ConstValues values, const Shape& shape, const TensorNames& names) {
  const auto at = [&values](size_t i) {
    return Visit(values, [i](const auto* data) { return ToFloat(data[i]); });
  };
  const size_t size = shape.size();
  size_t first = 0;
  while (first < size && std::isfinite(at(first))) ++first;
  if (first == size) {
    // Happens only if the caller wrote to the tensor meanwhile.
    throw Error(kCode, std::string(names.tensor) +
                           " changed while it was read, and held a value that is not finite.");
  }
  ThrowNotFiniteAt(std::isnan(at(first)) ? "NaN" : "infinity", first, shape, names);
}

}  // namespace longvlm
