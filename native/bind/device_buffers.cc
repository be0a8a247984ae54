#include "bind/device_buffers.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/native_task.h"

namespace longvlm {

namespace {

constexpr napi_type_tag kBufferTag{0x6c6f6e67766c6d01, 0x6465766963656275};

// cudaDevices(args: { library: string, needsDriver: boolean }): NativeCudaDevice[]
Napi::Value CudaDevices(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "cudaDevices", [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const Arguments arguments(info);
    Napi::Array list = Napi::Array::New(env);
    if (arguments.Boolean("needsDriver") && !HasCudaDriver()) return list;
    const CudaFunctions& cuda = OpenCudaLibrary(arguments.String("library"));
    int32_t count = 0;
    const lv_status status = cuda.device_count(&count);
    if (status != LV_ERROR_NO_DEVICE) CheckCuda(cuda, status);
    for (int32_t index = 0; index < count; ++index) {
      lv_device_info found{};
      CheckCuda(cuda, cuda.get_device_info(index, &found));
      Napi::Object device = Napi::Object::New(env);
      device.Set("index", index);
      device.Set("name", found.name);
      device.Set("computeCapability",
                 std::to_string(found.compute_major) + "." + std::to_string(found.compute_minor));
      device.Set("totalBytes", static_cast<double>(found.total_bytes));
      device.Set("freeBytes", static_cast<double>(found.free_bytes));
      device.Set("emulated", found.host_memory != 0);
      list.Set(static_cast<uint32_t>(index), device);
    }
    return list;
  });
}

Napi::Value ToObject(Napi::Env env, ElementType type, std::shared_ptr<DeviceMemory> memory) {
  const auto external =
      Napi::External<DeviceBuffer>::New(env, new DeviceBuffer{type, std::move(memory)},
                                        [](Napi::BasicEnv, DeviceBuffer* held) { delete held; });
  napi_type_tag_object(env, external, &kBufferTag);
  return external;
}

// allocateDeviceBuffer(args: AllocateDeviceBufferArgs): NativeDeviceBuffer
Napi::Value Allocate(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "allocateDeviceBuffer", [&]() -> Napi::Value {
    const Arguments arguments(info);
    const ElementType type = ReadElementType(arguments);
    const auto device =
        CudaDevice::Get(arguments.String("library"), arguments.SmallInteger("device", 0));
    return ToObject(
        info.Env(), type,
        std::make_shared<DeviceMemory>(device, arguments.Integer("count", 1) * SizeOf(type)));
  });
}

// viewDeviceBuffer(args: ViewDeviceBufferArgs): NativeDeviceBuffer
Napi::Value View(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "viewDeviceBuffer", [&]() -> Napi::Value {
    const Arguments arguments(info);
    const DeviceBuffer& whole = ToDeviceBuffer(info.Env(), "buffer", arguments.Get("buffer"));
    const std::shared_ptr<DeviceMemory>& memory = whole.memory;
    const size_t values = memory->bytes() / SizeOf(whole.type);
    const size_t from = arguments.Integer("from", 0);
    const size_t count = arguments.Integer("count", 1);
    if (from > values || count > values - from) Invalid("count", std::to_string(count));
    char* address = static_cast<char*>(memory->data()) + from * SizeOf(whole.type);
    return ToObject(info.Env(), whole.type,
                    std::make_shared<DeviceMemory>(memory->device().shared_from_this(), address,
                                                   count * SizeOf(whole.type), memory));
  });
}

// freeDeviceBuffer(args: { buffer: NativeDeviceBuffer }): void
Napi::Value Free(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "freeDeviceBuffer", [&]() -> Napi::Value {
    ToDeviceBuffer(info.Env(), "buffer", Arguments(info).Get("buffer")).memory.reset();
    return info.Env().Undefined();
  });
}

// The field `buffer`, after a check that it has at least `bytes` bytes.
std::shared_ptr<DeviceMemory> ReadMemory(Napi::Env env, const Arguments& arguments, size_t bytes) {
  constexpr const char* kName = "buffer";
  return MemoryOf(ToDeviceBuffer(env, kName, arguments.Get(kName)), kName, bytes);
}

// uploadToDevice(args: { buffer: NativeDeviceBuffer, data: TypedArray }): NativeTask
Napi::Value Upload(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "uploadToDevice";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Arguments arguments(info);
    const std::span<std::byte> data = arguments.Bytes("data");
    auto memory = ReadMemory(info.Env(), arguments, data.size());
    arguments.CheckUnchanged();
    return StartTask(info.Env(), kCallee, &EnvironmentWork::waiting, arguments.kept(),
                     [data, memory = std::move(memory)](const std::atomic<bool>& cancelled) {
                       memory->device().Upload(memory->data(), data.data(), data.size(), cancelled);
                     });
  });
}

// downloadFromDevice(args: { buffer: NativeDeviceBuffer, out: TypedArray }): NativeTask
Napi::Value Download(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "downloadFromDevice";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    Arguments arguments(info);
    const std::span<std::byte> out = arguments.Bytes("out");
    auto memory = ReadMemory(info.Env(), arguments, out.size());
    arguments.CheckUnchanged();
    return StartTask(info.Env(), kCallee, &EnvironmentWork::waiting, arguments.kept(),
                     [out, memory = std::move(memory)](const std::atomic<bool>& cancelled) {
                       memory->device().Download(out.data(), memory->data(), out.size(), cancelled);
                     });
  });
}

// downloadFromDeviceSync(args: { buffer: NativeDeviceBuffer, out: TypedArray }): void
Napi::Value DownloadSync(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "downloadFromDeviceSync", [&]() -> Napi::Value {
    Arguments arguments(info);
    const std::span<std::byte> out = arguments.Bytes("out");
    const auto memory = ReadMemory(info.Env(), arguments, out.size());
    const std::atomic<bool> cancelled{false};
    memory->device().Download(out.data(), memory->data(), out.size(), cancelled);
    return info.Env().Undefined();
  });
}

}  // namespace

DeviceBuffer& ToDeviceBuffer(Napi::Env env, const char* name, const Napi::Value& value) {
  bool tagged = false;
  if (!value.IsExternal() ||
      napi_check_object_type_tag(env, value, &kBufferTag, &tagged) != napi_ok || !tagged) {
    Invalid(name, "not a device buffer");
  }
  DeviceBuffer& buffer = *value.As<Napi::External<DeviceBuffer>>().Data();
  if (buffer.memory == nullptr) Invalid(name, "freed");
  return buffer;
}

DeviceBuffer& ToDeviceBuffer(Napi::Env env, const char* name, const Napi::Value& value,
                             std::span<const ElementType> types) {
  DeviceBuffer& buffer = ToDeviceBuffer(env, name, value);
  if (std::ranges::find(types, buffer.type) == types.end()) {
    Invalid(name, "of another element type");
  }
  return buffer;
}

ElementType ReadElementType(const Arguments& arguments) {
  constexpr std::pair<const char*, ElementType> kTypes[] = {{"float32", ElementType::kFloat32},
                                                            {"float16", ElementType::kFloat16},
                                                            {"bfloat16", ElementType::kBfloat16},
                                                            {"int32", ElementType::kInt32},
                                                            {"uint8", ElementType::kUint8}};
  const std::string name = arguments.String("type");
  const auto* found =
      std::ranges::find_if(kTypes, [&](const auto& type) { return type.first == name; });
  if (found == std::end(kTypes)) Invalid("type", name);
  return found->second;
}

std::shared_ptr<DeviceMemory> MemoryOf(const DeviceBuffer& buffer, const char* name, size_t bytes) {
  const size_t found = buffer.memory->bytes();
  if (found < bytes) {
    Invalid(name, std::to_string(found) + " bytes where " + std::to_string(bytes) + " are needed");
  }
  return buffer.memory;
}

void InitDeviceBuffers(Napi::Env env, Napi::Object exports) {
  exports.Set("cudaDevices", Napi::Function::New(env, CudaDevices));
  exports.Set("allocateDeviceBuffer", Napi::Function::New(env, Allocate));
  exports.Set("viewDeviceBuffer", Napi::Function::New(env, View));
  exports.Set("freeDeviceBuffer", Napi::Function::New(env, Free));
  exports.Set("uploadToDevice", Napi::Function::New(env, Upload));
  exports.Set("downloadFromDevice", Napi::Function::New(env, Download));
  exports.Set("downloadFromDeviceSync", Napi::Function::New(env, DownloadSync));
}

}  // namespace longvlm
