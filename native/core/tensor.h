// Tensors of the operations: row-major values, [batch, rows, width].
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace longvlm {

// float16 values are IEEE 754 half-precision bits. bfloat16, int32 and uint8 tensors exist on GPUs
// only, the latter for pixels.
enum class ElementType { kFloat32, kFloat16, kBfloat16, kInt32, kUint8 };

constexpr size_t SizeOf(ElementType type) {
  if (type == ElementType::kUint8) return 1;
  return type == ElementType::kFloat32 || type == ElementType::kInt32 ? 4 : 2;
}

// Floats of one type that an operation writes. The caller knows whether `data` is host or GPU
// memory.
struct Values {
  ElementType type = ElementType::kFloat32;
  void* data = nullptr;

  Values() = default;
  Values(ElementType of_type, void* at) : type(of_type), data(at) {}
  Values(float* at) : data(at) {}                                  // NOLINT: the same thing
  Values(uint16_t* at) : type(ElementType::kFloat16), data(at) {}  // NOLINT: the same thing

  template <typename T>
  T* As() const {
    return static_cast<T*>(data);
  }
  // Those from number `first` on.
  Values From(size_t first) const {
    return {type, static_cast<std::byte*>(data) + first * SizeOf(type)};
  }
};

// Floats of one type that an operation reads.
struct ConstValues {
  ElementType type = ElementType::kFloat32;
  const void* data = nullptr;

  ConstValues() = default;
  ConstValues(ElementType of_type, const void* at) : type(of_type), data(at) {}
  ConstValues(const Values& values) : type(values.type), data(values.data) {}  // NOLINT
  ConstValues(const float* at) : data(at) {}                                   // NOLINT
  ConstValues(const uint16_t* at) : type(ElementType::kFloat16), data(at) {}   // NOLINT

  // Those from number `first` on.
  ConstValues From(size_t first) const {
    return {type, static_cast<const std::byte*>(data) + first * SizeOf(type)};
  }
};

// Calls visitor(const float*) or visitor(const uint16_t*), the latter for float16: the types that
// the CPU computes with.
template <typename Visitor>
decltype(auto) Visit(const ConstValues& values, Visitor visitor) {
  switch (values.type) {
    case ElementType::kFloat32:
      return visitor(static_cast<const float*>(values.data));
    case ElementType::kFloat16:
      return visitor(static_cast<const uint16_t*>(values.data));
    default:
      throw std::invalid_argument("the CPU computes with float32 and float16 only");
  }
}

struct Shape {
  size_t batch;
  size_t rows;
  size_t width;

  size_t size() const { return batch * rows * width; }
};

// Names of a tensor and its axes in error messages.
struct TensorNames {
  const char* tensor;
  std::array<const char*, 3> axes;
};

// Thrown by a block of work that found NaN or infinity.
struct NotFinite {};

// Throws NotFinite unless all of `values` are finite.
void CheckFinite(const float* values, size_t count);
void CheckFinite(const double* values, size_t count);

// Throws Error ERR_LONGVLM_NOT_FINITE that names the first NaN or infinity of `values`, which must
// contain one.
[[noreturn]] void ThrowNotFinite(ConstValues values, const Shape& shape, const TensorNames& names);

// The same for a known position, which holds `what`.
[[noreturn]] void ThrowNotFiniteAt(const char* what, size_t index, const Shape& shape,
                                   const TensorNames& names);

// Calls work(). If it throws NotFinite, throws an Error that names the position of the first such
// value in `values`.
template <typename Work>
void LocateNotFinite(ConstValues values, const Shape& shape, const TensorNames& names, Work work) {
  try {
    work();
  } catch (const NotFinite&) {
    ThrowNotFinite(values, shape, names);
  }
}

}  // namespace longvlm
