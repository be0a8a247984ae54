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
  constexpr uint64_t kExponent = 0x7ff0000000000000u;
  uint64_t bad = 0;
  for (size_t i = 0; i < count; ++i) {
    bad |= static_cast<uint64_t>((std::bit_cast<uint64_t>(values[i]) & kExponent) == kExponent);
  }
  if (bad != 0) throw NotFinite();
}

void ThrowNotFinite(ConstValues values, const Shape& shape, const TensorNames& names) {
  const auto at = [&values](size_t i) {
    return std::visit([i](const auto* data) { return ToFloat(data[i]); }, values);
  };
  const size_t size = shape.size();
  size_t first = 0;
  while (first < size && std::isfinite(at(first))) ++first;
  std::string message = std::string(names.tensor);
  if (first == size) {
    // Only if the caller wrote to the tensor meanwhile.
    message += " changed while it was read, and held a value that is not finite.";
  } else {
    const std::array<size_t, 3> position{first / shape.width / shape.rows,
                                         first / shape.width % shape.rows, first % shape.width};
    message += std::isnan(at(first)) ? " holds NaN at " : " holds infinity at ";
    for (size_t axis = 0; axis < 3; ++axis) {
      message += std::string(axis == 0 ? "" : ", ") + names.axes[axis] + " " +
                 std::to_string(position[axis]);
    }
    message += ".";
  }
  throw Error("ERR_LONGVLM_NOT_FINITE",
              message +
                  " Only finite values can be averaged: look at what made the tensor, for "
                  "example a float16 overflow in the vision tower.");
}

}  // namespace longvlm
