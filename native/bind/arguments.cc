#include "bind/arguments.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace longvlm {
namespace {

[[noreturn]] void Invalid(const std::string& name, const std::string& problem) {
  throw std::invalid_argument(name + " is invalid: " + problem);
}

size_t ToInteger(const std::string& name, const Napi::Value& value, size_t min) {
  constexpr double kMaxSafeInteger = 9007199254740991;
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= static_cast<double>(min) && number <= kMaxSafeInteger) ||
      number != std::floor(number)) {
    Invalid(name, value.ToString().Utf8Value());
  }
  return static_cast<size_t>(number);
}

}  // namespace

Arguments::Arguments(const Napi::CallbackInfo& info) {
  if (info.Length() != 1 || !info[0].IsObject()) Invalid("call", "one object is expected");
  object_ = info[0].As<Napi::Object>();
}

Napi::Value Arguments::Get(const char* name) const {
  const Napi::Value value = object_.Get(name);
  if (value.IsEmpty()) Invalid(name, "cannot be read");
  return value;
}

size_t Arguments::Integer(const char* name, size_t min) const {
  return ToInteger(name, Get(name), min);
}

std::vector<uint32_t> Arguments::Integers(const char* name) const {
  const Napi::Value value = Get(name);
  if (!value.IsArray()) Invalid(name, "not an array");
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<uint32_t> numbers(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const std::string element = std::string(name) + "[" + std::to_string(i) + "]";
    const Napi::Value number = array.Get(i);
    if (number.IsEmpty()) Invalid(element, "cannot be read");
    numbers[i] = static_cast<uint32_t>(
        std::min<size_t>(ToInteger(element, number, 0), std::numeric_limits<uint32_t>::max()));
  }
  return numbers;
}

bool Arguments::Boolean(const char* name) const {
  const Napi::Value value = Get(name);
  if (!value.IsBoolean()) Invalid(name, "not a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::string Arguments::String(const char* name) const {
  const Napi::Value value = Get(name);
  if (!value.IsString()) Invalid(name, "not a string");
  return value.As<Napi::String>().Utf8Value();
}

Shape Arguments::Shape3(const char* name) const {
  const Napi::Value value = Get(name);
  if (!value.IsArray() || value.As<Napi::Array>().Length() != 3) {
    Invalid(name, "three sizes are expected");
  }
  const Napi::Array array = value.As<Napi::Array>();
  size_t sizes[3];
  // Each size fits into int32, as indices do, and the product of two into size_t.
  constexpr size_t kLargest = std::numeric_limits<int32_t>::max();
  for (uint32_t axis = 0; axis < 3; ++axis) {
    const std::string element = std::string(name) + "[" + std::to_string(axis) + "]";
    sizes[axis] = ToInteger(element, array.Get(axis), 1);
    if (sizes[axis] > kLargest) Invalid(element, std::to_string(sizes[axis]));
  }
  const Shape shape{sizes[0], sizes[1], sizes[2]};
  if (shape.batch * shape.rows > (std::numeric_limits<size_t>::max() / 8) / shape.width) {
    Invalid(name, "too many values");
  }
  return shape;
}

void* Arguments::Array(const char* name, std::initializer_list<napi_typedarray_type> types,
                       size_t length, napi_typedarray_type* type) {
  const Napi::Value value = Get(name);
  if (!value.IsTypedArray()) Invalid(name, "not a typed array");
  const Napi::TypedArray array = value.As<Napi::TypedArray>();
  void* data = nullptr;
  size_t found = 0;
  if (napi_get_typedarray_info(value.Env(), value, type, &found, &data, nullptr, nullptr) !=
      napi_ok) {
    Invalid(name, "cannot be read");
  }
  if (std::ranges::find(types, *type) == types.end()) Invalid(name, "of another element type");
  if (found != length) {
    Invalid(name,
            std::to_string(found) + " values where " + std::to_string(length) + " are expected");
  }
  kept_.push_back(array);
  return data;
}

Values Arguments::Tensor(const char* name, size_t length) {
  napi_typedarray_type type;
  void* data = Array(name, {napi_float32_array, napi_uint16_array}, length, &type);
  if (type == napi_float32_array) return static_cast<float*>(data);
  return static_cast<uint16_t*>(data);
}

Values Arguments::TensorLike(const char* name, const Values& like, size_t length) {
  const Values values = Tensor(name, length);
  if (values.index() != like.index()) Invalid(name, "of another element type");
  return values;
}

float* Arguments::Floats(const char* name, size_t length) {
  napi_typedarray_type type;
  return static_cast<float*>(Array(name, {napi_float32_array}, length, &type));
}

float* Arguments::OptionalFloats(const char* name, size_t length) {
  return Get(name).IsUndefined() ? nullptr : Floats(name, length);
}

int32_t* Arguments::Ints(const char* name, size_t length) {
  napi_typedarray_type type;
  return static_cast<int32_t*>(Array(name, {napi_int32_array}, length, &type));
}

std::span<std::byte> Arguments::Bytes(const char* name) {
  const Napi::Value value = Get(name);
  if (!value.IsTypedArray()) Invalid(name, "not a typed array");
  napi_typedarray_type type;
  const size_t length = value.As<Napi::TypedArray>().ElementLength();
  void* data =
      Array(name, {napi_float32_array, napi_uint16_array, napi_int32_array}, length, &type);
  return {static_cast<std::byte*>(data), length * (type == napi_uint16_array ? 2 : 4)};
}

ConstValues AsConst(const Values& values) {
  return std::visit(
      [](auto* data) {
        return ConstValues(static_cast<const std::remove_pointer_t<decltype(data)>*>(data));
      },
      values);
}

}  // namespace longvlm
