#include <limits>
#include <span>
#include <string>
#include <utility>

#include "bind/addon_state.h"
#include "bind/arguments.h"
#include "bind/bindings.h"
#include "bind/device_buffers.h"
#include "bind/guard.h"
#include "bind/native_task.h"
#include "bind/operations.h"
#include "ort/session_runner.h"

namespace longvlm {
namespace {

constexpr napi_type_tag kSessionTag{0x6c6f6e67766c6d03, 0x6f72747365737369};

// ONNX Runtime starts as many as it is told to.
constexpr int kMostThreads = 1024;

// Behind a session's JavaScript object. One that is forgotten there is freed, too.
struct HeldSession {
  std::shared_ptr<ort::SessionRunner> runner;
  std::shared_ptr<CudaDevice> device;  // null where the run has no part on a GPU of ours
  ~HeldSession() {
    runner->Release([](std::exception_ptr) {});
  }
};

HeldSession& ToSession(Napi::Env env, const Napi::Value& value) {
  bool tagged = false;
  if (!value.IsExternal() ||
      napi_check_object_type_tag(env, value, &kSessionTag, &tagged) != napi_ok || !tagged) {
    Invalid("session", "not a session");
  }
  return *value.As<Napi::External<HeldSession>>().Data();
}

Napi::Object SessionTask(Napi::Env env, const Napi::Promise& promise,
                         const std::shared_ptr<ort::Cancellation>& cancellation) {
  return ToTask(env, promise, [cancellation] { cancellation->Cancel(); });
}

// ortLibrary(args: { library: string }): NativeOrtLibrary
Napi::Value DescribeLibrary(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "ortLibrary", [&]() -> Napi::Value {
    const ort::Library& library = ort::Library::Open(Arguments(info).String("library"));
    Napi::Array providers = Napi::Array::New(info.Env());
    for (const std::string& name : library.Providers()) {
      providers.Set(providers.Length(), Napi::String::New(info.Env(), name));
    }
    Napi::Object described = Napi::Object::New(info.Env());
    described.Set("version", library.version());
    described.Set("providers", providers);
    return described;
  });
}

// Keys and values that take turns.
ort::Settings ReadSettings(const Arguments& arguments, const char* name) {
  const std::vector<std::string> texts = arguments.Strings(name);
  if (texts.size() % 2 != 0) Invalid(name, "a key has no value");
  ort::Settings settings;
  for (size_t i = 0; i < texts.size(); i += 2) settings.emplace_back(texts[i], texts[i + 1]);
  return settings;
}

// The GPU, if the library of the kernels is given.
std::shared_ptr<CudaDevice> ReadDevice(const Arguments& arguments, int gpu) {
  if (arguments.Get("kernels").IsUndefined()) return nullptr;
  return CudaDevice::Get(arguments.String("kernels"), gpu);
}

// The thread for a session, by JobThread's names.
std::string ThreadOf(const ort::SessionOptions& options) {
  const bool on_gpu = options.device != nullptr || options.provider == "cuda";
  return on_gpu ? "cuda:" + std::to_string(options.gpu) : options.provider;
}

// openOrtSession(args: NativeOpenOrtSessionArgs): NativeOpening
Napi::Value Open(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "openOrtSession";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    Arguments arguments(info);
    const ort::Library& library = ort::Library::Open(arguments.String("library"));
    const int gpu = arguments.SmallInteger("gpu", 0);
    ort::SessionOptions options{arguments.String("provider"),
                                gpu,
                                ReadSettings(arguments, "providerOptions"),
                                ReadSettings(arguments, "config"),
                                arguments.SmallInteger("threads", 1),
                                ReadDevice(arguments, gpu)};
    if (options.threads > kMostThreads) Invalid("threads", std::to_string(options.threads));
    const std::span<std::byte> bytes = arguments.Bytes("model");
    arguments.CheckUnchanged();
    EnvironmentWork& environment = AddonState::Work(env);
    const auto runner = ort::SessionRunner::Make(library, ThreadOf(options));
    environment.Add(runner);
    const auto session =
        Napi::External<HeldSession>::New(env, new HeldSession{runner, options.device},
                                         [](Napi::BasicEnv, HeldSession* held) { delete held; });
    napi_type_tag_object(env, session, &kSessionTag);
    auto [promise, settle] = environment.settler().Expect(kCallee, {});
    const auto cancellation = std::make_shared<ort::Cancellation>();
    runner->Load(std::vector<std::byte>(bytes.begin(), bytes.end()), std::move(options),
                 cancellation, settle);
    Napi::Object task = SessionTask(env, promise, cancellation);
    task.Set("session", session);
    return task;
  });
}

// ONNX Runtime's number of an element type.
int ToOrtType(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return ort::kFloat;
    case ElementType::kFloat16:
      return ort::kFloat16;
    case ElementType::kUint8:
      return ort::kUint8;
    default:
      Invalid("type", "none that graphs take");
  }
}

// The memory of a device buffer. The CPU reads and writes an emulated GPU's in place.
void ReadDeviceMemory(Napi::Env env, const Napi::Value& value, ElementType type, size_t bytes,
                      ort::Operand& operand) {
  const DeviceBuffer& buffer = ToDeviceBuffer(env, "data", value, std::span(&type, 1));
  const std::shared_ptr<DeviceMemory> memory = MemoryOf(buffer, "data", bytes);
  operand.data = memory->data();
  if (!memory->device().HasHostMemory()) operand.gpu = memory->device().index();
  operand.kept = memory;
}

// One { name, type, dims, data }, in the memory of `data`.
ort::Operand ReadOperand(Napi::Env env, Arguments& fields) {
  ort::Operand operand;
  operand.name = fields.String("name");
  const ElementType type = ReadElementType(fields);
  operand.type = ToOrtType(type);
  operand.row_bytes = SizeOf(type);
  for (const uint32_t size : fields.Integers("dims")) operand.dims.push_back(size);
  if (operand.dims.empty()) Invalid("dims", "no axis of rows");
  for (size_t axis = 1; axis < operand.dims.size(); ++axis) {
    const auto size = static_cast<size_t>(operand.dims[axis]);
    if (size != 0 && operand.row_bytes > std::numeric_limits<uint32_t>::max() / size) {
      Invalid("dims", "too many values");
    }
    operand.row_bytes *= size;
  }
  const size_t bytes = operand.row_bytes * static_cast<size_t>(operand.dims[0]);
  const Napi::Value value = fields.Get("data");
  if (value.IsExternal()) {
    ReadDeviceMemory(env, value, type, bytes, operand);
    return operand;
  }
  const std::span<std::byte> data = fields.Bytes("data", value);
  if (data.size() != bytes) {
    Invalid("data", std::to_string(data.size()) + " bytes, which dims contradict");
  }
  operand.data = data.data();
  return operand;
}

std::vector<ort::Operand> ReadOperands(Napi::Env env, std::vector<Arguments>& fields,
                                       int64_t rows) {
  std::vector<ort::Operand> operands;
  for (Arguments& each : fields) {
    operands.push_back(ReadOperand(env, each));
    if (operands.back().dims[0] != rows) Invalid("dims", "another first axis");
  }
  return operands;
}

// A field that is an array of { buffer, data }.
std::vector<ort::Transfer> ReadTransfers(Napi::Env env, std::vector<Arguments>& fields,
                                         const CudaDevice* device) {
  std::vector<ort::Transfer> transfers;
  for (Arguments& each : fields) {
    const std::span<std::byte> data = each.Bytes("data");
    const DeviceBuffer& buffer = ToDeviceBuffer(env, "buffer", each.Get("buffer"));
    transfers.push_back({MemoryOf(buffer, "buffer", data.size()), data.data(), data.size()});
    if (&transfers.back().device->device() != device) Invalid("buffer", "on another device");
  }
  return transfers;
}

std::vector<CudaOperation> ReadOperations(Napi::Env env, const std::vector<Arguments>& fields,
                                          const CudaDevice* device) {
  std::vector<CudaOperation> operations;
  for (const Arguments& each : fields) {
    Operands operands(env, each);
    operations.push_back(ReadCudaOperation(each.String("operation"), operands));
    if (operands.device() != device) Invalid("operation", "on another device");
  }
  return operations;
}

// runOrtSession(args: NativeRunOrtSessionArgs): NativeTask
Napi::Value Run(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "runOrtSession";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const Arguments arguments(info);
    const Napi::Value session = arguments.Get("session");
    const HeldSession& held = ToSession(env, session);
    const auto rows = static_cast<int64_t>(arguments.SmallInteger("rows", 0));
    const auto batch = static_cast<int64_t>(arguments.SmallInteger("batch", 1));
    std::vector<Arguments> inputs = arguments.Structs("inputs");
    std::vector<Arguments> outputs = arguments.Structs("outputs");
    std::vector<Arguments> uploads = arguments.Structs("uploads");
    std::vector<Arguments> downloads = arguments.Structs("downloads");
    const CudaDevice* device = held.device.get();
    ort::RunCall call{ReadOperands(env, inputs, rows),
                      ReadOperands(env, outputs, rows),
                      rows,
                      batch,
                      ReadTransfers(env, uploads, device),
                      ReadOperations(env, arguments.Structs("operations"), device),
                      ReadTransfers(env, downloads, device)};
    std::vector<Napi::Object> kept{session.As<Napi::Object>()};
    for (const auto* each : {&inputs, &outputs, &uploads, &downloads}) {
      for (const Arguments& fields : *each) {
        fields.CheckUnchanged();
        kept.insert(kept.end(), fields.kept().begin(), fields.kept().end());
      }
    }
    auto [promise, settle] = AddonState::Work(env).settler().Expect(kCallee, kept);
    const auto cancellation = std::make_shared<ort::Cancellation>();
    held.runner->Run(std::move(call), cancellation, settle);
    return SessionTask(env, promise, cancellation);
  });
}

// releaseOrtSession(args: { session: NativeOrtSession }): NativeTask
Napi::Value Release(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "releaseOrtSession";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    const auto runner = ToSession(info.Env(), Arguments(info).Get("session")).runner;
    auto [promise, settle] = AddonState::Work(info.Env()).settler().Expect(kCallee, {});
    runner->Release(settle);
    // There is nothing to cancel.
    return SessionTask(info.Env(), promise, std::make_shared<ort::Cancellation>());
  });
}

// endOrtSessions(): void
Napi::Value End(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "endOrtSessions", [&]() -> Napi::Value {
    AddonState::Work(info.Env()).EndSessions();
    return info.Env().Undefined();
  });
}

}  // namespace

void InitOrtSessions(Napi::Env env, Napi::Object exports) {
  exports.Set("ortLibrary", Napi::Function::New(env, DescribeLibrary));
  exports.Set("openOrtSession", Napi::Function::New(env, Open));
  exports.Set("runOrtSession", Napi::Function::New(env, Run));
  exports.Set("releaseOrtSession", Napi::Function::New(env, Release));
  exports.Set("endOrtSessions", Napi::Function::New(env, End));
}

}  // namespace longvlm
