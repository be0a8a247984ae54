// Reads the one struct that a native call gets. TypeScript has checked the arguments; here is
// checked again what guards memory: types, and lengths against shapes. What is wrong is a
// std::invalid_argument.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bind/napi_setup.h"
#include "core/tensor.h"

namespace longvlm {

class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info);

  // An integer of at least `min`.
  size_t Integer(const char* name, size_t min) const;
  std::vector<uint32_t> Integers(const char* name) const;
  bool Boolean(const char* name) const;
  std::string String(const char* name) const;
  // Any value, also undefined.
  Napi::Value Optional(const char* name) const { return Get(name); }

  // [batch, rows, width], each at least 1, tokens few enough for int32 indices.
  Shape Shape3(const char* name) const;

  // A Float32Array or Uint16Array (float16) of exactly `length` values. The memory is valid while
  // the objects of kept() live.
  Values Tensor(const char* name, size_t length);
  // As Tensor, but of the same type as `like`.
  Values TensorLike(const char* name, const Values& like, size_t length);
  float* Floats(const char* name, size_t length);
  // Null when the field is undefined.
  float* OptionalFloats(const char* name, size_t length);
  int32_t* Ints(const char* name, size_t length);
  // The memory of a Float32Array, Uint16Array or Int32Array of any length.
  std::span<std::byte> Bytes(const char* name);

  // The typed arrays that were read.
  const std::vector<Napi::Object>& kept() const { return kept_; }

 private:
  Napi::Value Get(const char* name) const;
  // The array's memory; its type is one of `types`.
  void* Array(const char* name, std::initializer_list<napi_typedarray_type> types, size_t length,
              napi_typedarray_type* type);

  Napi::Object object_;
  std::vector<Napi::Object> kept_;
};

ConstValues AsConst(const Values& values);

}  // namespace longvlm
