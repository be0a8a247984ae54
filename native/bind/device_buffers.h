// GPU memory that JavaScript objects own.
#pragma once

#include <memory>
#include <span>

#include "bind/arguments.h"
#include "core/cuda_device.h"
#include "core/tensor.h"
#include "napi/napi_setup.h"

namespace longvlm {

// The result of allocateDeviceBuffer(). Has no memory after it was freed.
struct DeviceBuffer {
  ElementType type;
  std::shared_ptr<DeviceMemory> memory;
};

// Throws std::invalid_argument when `value` is not such a buffer, or was freed.
DeviceBuffer& ToDeviceBuffer(Napi::Env env, const char* name, const Napi::Value& value);

// A buffer of one of the types. Throws as ToDeviceBuffer, and where it is of another type.
DeviceBuffer& ToDeviceBuffer(Napi::Env env, const char* name, const Napi::Value& value,
                             std::span<const ElementType> types);

// The element type that the field `type` names.
ElementType ReadElementType(const Arguments& arguments);

// The memory of a buffer. Throws std::invalid_argument unless it has at least `bytes` bytes.
std::shared_ptr<DeviceMemory> MemoryOf(const DeviceBuffer& buffer, const char* name, size_t bytes);

}  // namespace longvlm
