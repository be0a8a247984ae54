// Reads the struct that is passed to a native call. TypeScript has checked the arguments; the
// checks that guard memory are repeated here: types, and lengths against shapes. Wrong arguments
// throw std::invalid_argument.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "napi/napi_setup.h"

namespace longvlm {

class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info);
  explicit Arguments(const Napi::Object& object) : object_(object) {}

  // An integer of at least `min`, and at most the largest that a double holds exactly.
  size_t Integer(const char* name, size_t min) const;
  // One that fits into int32, too.
  int32_t SmallInteger(const char* name, size_t min) const;
  std::vector<uint32_t> Integers(const char* name) const;
  // A finite number.
  double Number(const char* name) const;
  bool Boolean(const char* name) const;
  std::string String(const char* name) const;
  std::vector<std::string> Strings(const char* name) const;
  // The elements of an array of objects.
  std::vector<Arguments> Structs(const char* name) const;
  // The value of a field, also undefined.
  Napi::Value Get(const char* name) const;

  // [batch, rows, width], each at least 1, and small enough for int32 indices.
  Shape Shape3(const char* name) const;

  // The memory of a Float32Array of exactly `length` values. Valid as long as the objects of
  // kept() are alive.
  float* HostFloats(const char* name, size_t length);
  // The memory of a Float32Array, Int32Array, Uint16Array or Uint8Array of any length.
  std::span<std::byte> Bytes(const char* name) { return Bytes(name, Get(name)); }
  std::span<std::byte> Bytes(const char* name, const Napi::Value& value);

  // To be called when everything is read: a getter of the caller's may have detached the memory of
  // an array that was read before.
  void CheckUnchanged() const;

  // The typed arrays that were read.
  const std::vector<Napi::Object>& kept() const { return kept_; }

 protected:
  struct HostArray {
    napi_typedarray_type type;
    void* data;
    size_t length;
  };

  // The typed array `value` of the field `name`, which is added to kept().
  HostArray Array(const char* name, const Napi::Value& value);
  static void CheckLength(const char* name, const HostArray& array, size_t expected);

 private:
  Napi::Object object_;
  std::vector<Napi::Object> kept_;
  std::vector<std::pair<const char*, HostArray>> read_;
};

[[noreturn]] void Invalid(const std::string& name, const std::string& problem);

}  // namespace longvlm
