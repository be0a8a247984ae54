// GPU memory as JavaScript holds it.
#pragma once

#include <memory>

#include "bind/arguments.h"
#include "bind/napi_setup.h"
#include "core/cuda_device.h"

namespace longvlm {

using DeviceBuffer = std::shared_ptr<DeviceMemory>;

// What allocateDeviceBuffer() gave, of at least `bytes`. Throws std::invalid_argument otherwise,
// and when it was freed.
DeviceBuffer ReadDeviceBuffer(Napi::Env env, const Arguments& arguments, const char* name,
                              size_t bytes);
// Null when the field is undefined.
DeviceBuffer ReadOptionalDeviceBuffer(Napi::Env env, const Arguments& arguments, const char* name,
                                      size_t bytes);

}  // namespace longvlm
