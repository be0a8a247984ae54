#include "bind/arguments.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace longvlm {

void Invalid(const std::string& name, const std::string& problem) {
  throw std::invalid_argument(name + " is invalid: " + problem);
}

namespace {

// More levels than a schedule has uses for.
constexpr size_t kMostElements = 1 << 20;

size_t ToInteger(const std::string& name, const Napi::Value& value, size_t min) {
  constexpr double kMaxSafeInteger = 9007199254740991;
  // Other values are not shown: to make text of them runs the caller's code.
  if (!value.IsNumber()) Invalid(name, "not a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= static_cast<double>(min) && number <= kMaxSafeInteger) ||
      number != std::floor(number)) {
    Invalid(name, value.ToString().Utf8Value());
  }
  return static_cast<size_t>(number);
}

// The elements of an array, each read once.
std::vector<Napi::Value> Elements(const std::string& name, const Napi::Value& value, size_t most) {
  if (!value.IsArray()) Invalid(name, "not an array");
  const Napi::Array array = value.As<Napi::Array>();
  const uint32_t length = array.Length();
  if (length > most) Invalid(name, std::to_string(length) + " elements");
  std::vector<Napi::Value> elements;
  for (uint32_t i = 0; i < length; ++i) {
    elements.push_back(array.Get(i));
    if (elements.back().IsEmpty()) Invalid(name, "cannot be read");
  }
  return elements;
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

int32_t Arguments::SmallInteger(const char* name, size_t min) const {
  const size_t number = Integer(name, min);
  if (number > std::numeric_limits<int32_t>::max()) Invalid(name, std::to_string(number));
  return static_cast<int32_t>(number);
}

double Arguments::Number(const char* name) const {
  const Napi::Value value = Get(name);
  if (!value.IsNumber()) Invalid(name, "not a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!std::isfinite(number)) Invalid(name, "not finite");
  return number;
}

std::vector<uint32_t> Arguments::Integers(const char* name) const {
  std::vector<uint32_t> numbers;
  for (const Napi::Value& value : Elements(name, Get(name), kMostElements)) {
    const std::string element = std::string(name) + "[" + std::to_string(numbers.size()) + "]";
    numbers.push_back(static_cast<uint32_t>(
        std::min<size_t>(ToInteger(element, value, 0), std::numeric_limits<uint32_t>::max())));
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

std::vector<std::string> Arguments::Strings(const char* name) const {
  std::vector<std::string> strings;
  for (const Napi::Value& value : Elements(name, Get(name), kMostElements)) {
    if (!value.IsString()) Invalid(name, "not an array of strings");
    strings.push_back(value.As<Napi::String>().Utf8Value());
  }
  return strings;
}

std::vector<Arguments> Arguments::Structs(const char* name) const {
  std::vector<Arguments> structs;
  for (const Napi::Value& value : Elements(name, Get(name), kMostElements)) {
    if (!value.IsObject()) Invalid(name, "not an array of objects");
    structs.emplace_back(value.As<Napi::Object>());
  }
  return structs;
}

Shape Arguments::Shape3(const char* name) const {
  const std::vector<Napi::Value> elements = Elements(name, Get(name), 3);
  if (elements.size() != 3) Invalid(name, "three sizes are expected");
  size_t sizes[3];
  // Each size fits into int32, as indices do, and the product of two into size_t.
  constexpr size_t kLargest = std::numeric_limits<int32_t>::max();
  for (uint32_t axis = 0; axis < 3; ++axis) {
    const std::string element = std::string(name) + "[" + std::to_string(axis) + "]";
    sizes[axis] = ToInteger(element, elements[axis], 1);
    if (sizes[axis] > kLargest) Invalid(element, std::to_string(sizes[axis]));
  }
  const Shape shape{sizes[0], sizes[1], sizes[2]};
  if (shape.batch * shape.rows > (std::numeric_limits<size_t>::max() / 8) / shape.width) {
    Invalid(name, "too many values");
  }
  return shape;
}

Arguments::HostArray Arguments::Array(const char* name, const Napi::Value& value) {
  if (!value.IsTypedArray()) Invalid(name, "not a typed array");
  HostArray array{};
  if (napi_get_typedarray_info(value.Env(), value, &array.type, &array.length, &array.data, nullptr,
                               nullptr) != napi_ok) {
    Invalid(name, "cannot be read");
  }
  kept_.push_back(value.As<Napi::Object>());
  read_.push_back({name, array});
  return array;
}

void Arguments::CheckUnchanged() const {
  for (size_t i = 0; i < kept_.size(); ++i) {
    HostArray now{};
    if (napi_get_typedarray_info(kept_[i].Env(), kept_[i], &now.type, &now.length, &now.data,
                                 nullptr, nullptr) != napi_ok ||
        now.data != read_[i].second.data || now.length != read_[i].second.length) {
      Invalid(read_[i].first, "its memory was taken away while the arguments were read");
    }
  }
}

void Arguments::CheckLength(const char* name, const HostArray& array, size_t expected) {
  if (array.length == expected) return;
  Invalid(name, std::to_string(array.length) + " values where " + std::to_string(expected) +
                    " are expected");
}

float* Arguments::HostFloats(const char* name, size_t length) {
  const HostArray array = Array(name, Get(name));
  if (array.type != napi_float32_array) Invalid(name, "of another element type");
  CheckLength(name, array, length);
  return static_cast<float*>(array.data);
}

std::span<std::byte> Arguments::Bytes(const char* name, const Napi::Value& value) {
  const HostArray array = Array(name, value);
  const size_t bytes = [&]() -> size_t {
    switch (array.type) {
      case napi_float32_array:
      case napi_int32_array:
        return 4;
      case napi_uint16_array:
        return 2;
      case napi_uint8_array:
        return 1;
      default:
        Invalid(name, "of another element type");
    }
  }();
  return {static_cast<std::byte*>(array.data), array.length * bytes};
}

}  // namespace longvlm
