// What the operations read: float32 or float16 values in row-major order, [batch, rows, width].
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <variant>

namespace longvlm {

// float16 are the bits of IEEE 754 half precision.
using ConstValues = std::variant<const float*, const uint16_t*>;
using Values = std::variant<float*, uint16_t*>;

struct Shape {
  size_t batch;
  size_t rows;
  size_t width;

  size_t size() const { return batch * rows * width; }
};

// How an error message names a tensor and its axes.
struct TensorNames {
  const char* tensor;
  std::array<const char*, 3> axes;
};

// Thrown by a block of work that met NaN or infinity.
struct NotFinite {};

// Throws NotFinite unless all of `values` are finite.
void CheckFinite(const float* values, size_t count);
void CheckFinite(const double* values, size_t count);

// Throws Error ERR_LONGVLM_NOT_FINITE naming the first NaN or infinity of `values`. For when one is
// known to be there.
[[noreturn]] void ThrowNotFinite(ConstValues values, const Shape& shape, const TensorNames& names);

// The same where the place is known; `what` is there.
[[noreturn]] void ThrowNotFiniteAt(const char* what, size_t index, const Shape& shape,
                                   const TensorNames& names);

// Calls work(), and says where in `values` the first value is that is not finite when that is what
// stops it.
template <typename Work>
void LocateNotFinite(ConstValues values, const Shape& shape, const TensorNames& names, Work work) {
  try {
    work();
  } catch (const NotFinite&) {
    ThrowNotFinite(values, shape, names);
  }
}

}  // namespace longvlm
