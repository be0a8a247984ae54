#include "bind/operands.h"

#include <algorithm>
#include <stdexcept>

#include "bind/device_buffers.h"

namespace longvlm {
namespace {

napi_typedarray_type ArrayOf(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return napi_float32_array;
    case ElementType::kInt32:
      return napi_int32_array;
    case ElementType::kUint8:
      return napi_uint8_array;
    default:
      return napi_uint16_array;
  }
}

}  // namespace

Values Operands::Read(const char* name, std::initializer_list<ElementType> types, size_t count) {
  return Read(name, Get(name), types, count);
}

Values Operands::Read(const char* name, const Napi::Value& value,
                      std::initializer_list<ElementType> types, size_t count) {
  const auto elsewhere = [name] { Invalid(name, "on another device"); };
  if (value.IsTypedArray()) {
    if (!memory_.empty()) elsewhere();
    const HostArray array = Array(name, value);
    const auto* type =
        std::ranges::find_if(types, [&](ElementType each) { return ArrayOf(each) == array.type; });
    if (type == types.end()) Invalid(name, "of another element type");
    CheckLength(name, array, count);
    return {*type, array.data};
  }
  if (!value.IsExternal()) Invalid(name, "neither a typed array nor a device buffer");
  const DeviceBuffer& buffer = ToDeviceBuffer(env_, name, value, types);
  if (!kept().empty() || (device() != nullptr && &buffer.memory->device() != device())) elsewhere();
  memory_.push_back(MemoryOf(buffer, name, count * SizeOf(buffer.type)));
  return {buffer.type, memory_.back()->data()};
}

Values Operands::Floats(const char* name, size_t count) {
  // The first matching type wins, so a Uint16Array is float16.
  return Read(name, {ElementType::kFloat32, ElementType::kFloat16, ElementType::kBfloat16}, count);
}

Values Operands::FloatsLike(const char* name, const ConstValues& like, size_t count) {
  return Read(name, {like.type}, count);
}

float* Operands::Float32s(const char* name, size_t count) {
  return Read(name, {ElementType::kFloat32}, count).As<float>();
}

float* Operands::OptionalFloat32s(const char* name, size_t count) {
  const Napi::Value value = Get(name);
  if (value.IsUndefined()) return nullptr;
  return Read(name, value, {ElementType::kFloat32}, count).As<float>();
}

double* Operands::Float64s(const char* name, size_t count) {
  return Read(name, {ElementType::kUint8}, count * sizeof(double)).As<double>();
}

int32_t* Operands::Int32s(const char* name, size_t count) {
  return count == 0 ? nullptr : Read(name, {ElementType::kInt32}, count).As<int32_t>();
}

size_t Operands::Protect(const Shape& shape) const {
  const size_t protected_tokens = Integer("protect", 0);
  if (protected_tokens > shape.rows) Invalid("protect", "more than the tokens");
  return protected_tokens;
}

size_t Operands::Heads(const Shape& shape) const {
  const size_t heads = Integer("heads", 1);
  if (shape.width % heads != 0) throw std::invalid_argument("heads does not divide the channels");
  return heads;
}

}  // namespace longvlm
