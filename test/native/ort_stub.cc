#include "ort_stub.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <sstream>
#include <thread>
#include <utility>

#include "check.h"

namespace {

longvlm::OrtStub* stub = nullptr;

constexpr const char* kInputs[] = {"frames", "scale"};
constexpr const char* kOutputs[] = {"patches"};

}  // namespace

struct OrtStatus {
  std::string text;
};
struct OrtEnv {};
struct OrtAllocator {};
struct OrtMemoryInfo {
  std::string device;
};
struct OrtCUDAProviderOptionsV2 {};
struct OrtSessionOptions {
  std::atomic<bool> cancelled{false};
};
struct OrtRunOptions {
  std::atomic<bool> cancelled{false};
};
struct OrtSession {};
struct OrtValue {
  std::string text;
  bool on_host;
  void* data;
  size_t bytes;
};
struct OrtIoBinding {
  std::map<std::string, OrtValue> inputs;
  std::map<std::string, OrtValue> outputs;
};

namespace longvlm {
namespace {

std::string Join(const std::string& name, const char* const* keys, const char* const* values,
                 size_t count) {
  std::string text = name;
  for (size_t i = 0; i < count; ++i) text += std::string(" ") + keys[i] + "=" + values[i];
  return text;
}

// A run reads its inputs and fills its outputs with ones.
void Compute(const OrtIoBinding& binding) {
  int sum = 0;
  for (const auto& [name, input] : binding.inputs) {
    if (!input.on_host) continue;
    for (size_t i = 0; i < input.bytes; ++i)
      sum += static_cast<const unsigned char*>(input.data)[i];
  }
  for (const auto& [name, output] : binding.outputs) {
    if (output.on_host) std::memset(output.data, sum >= 0 ? 1 : 0, output.bytes);
  }
}

}  // namespace

// The functions of the table, all without state of their own.
struct OrtStubFunctions {
  static OrtStatus* Call(const std::string& text) { return stub->Call(text); }

  template <typename T, typename... Fields>
  static OrtStatus* Create(const char* kind, const std::string& text, T** created,
                           Fields... fields) {
    if (OrtStatus* failed = Call(text)) return failed;
    stub->Count(kind, 1);
    *created = new T{std::move(fields)...};
    return nullptr;
  }
  template <typename T>
  static void Release(const char* kind, T* object) {
    if (object == nullptr) return;
    stub->Count(kind, -1);
    delete object;
  }

  static OrtStatus* Fail(const std::string& text) {
    stub->Count("Status", 1);
    return new OrtStatus{text};
  }

  static OrtStatus* Name(const char* function, const char* const* names, size_t index,
                         char** name) {
    if (OrtStatus* failed = Call(function + std::string(" ") + std::to_string(index))) {
      return failed;
    }
    stub->Count("Text", 1);
    *name = new char[std::strlen(names[index]) + 1];
    std::strcpy(*name, names[index]);
    return nullptr;
  }
  // What frees does so even when it fails.
  static OrtStatus* Free(const char* function, void* text) {
    stub->Count("Text", -1);
    delete[] static_cast<char*>(text);
    return Call(function);
  }

  static void AddOptions(ort::Api& api) {
    api.CreateSessionOptions = [](auto** made) {
      return Create("SessionOptions", "CreateSessionOptions", made);
    };
    api.ReleaseSessionOptions = [](auto* options) { Release("SessionOptions", options); };
    api.SetSessionExecutionMode = [](auto*, int mode) {
      return Call("SetSessionExecutionMode " + std::to_string(mode));
    };
    api.DisableMemPattern = [](auto*) { return Call("DisableMemPattern"); };
    api.SetSessionLogSeverityLevel = [](auto*, int level) {
      return Call("SetSessionLogSeverityLevel " + std::to_string(level));
    };
    api.SetIntraOpNumThreads = [](auto*, int threads) {
      return Call("SetIntraOpNumThreads " + std::to_string(threads));
    };
    api.AddSessionConfigEntry = [](auto*, const char* key, const char* value) {
      return Call(Join("AddSessionConfigEntry", &key, &value, 1));
    };
    api.SessionOptionsAppendExecutionProvider = [](auto*, const char* name, const auto* keys,
                                                   const auto* values, size_t count) {
      const std::string text = "SessionOptionsAppendExecutionProvider " + std::string(name);
      return Call(Join(text, keys, values, count));
    };
    api.CreateCUDAProviderOptions = [](auto** made) {
      return Create("CUDAProviderOptions", "CreateCUDAProviderOptions", made);
    };
    api.UpdateCUDAProviderOptions = [](auto*, const auto* keys, const auto* values, size_t count) {
      return Call(Join("UpdateCUDAProviderOptions", keys, values, count));
    };
    api.UpdateCUDAProviderOptionsWithValue = [](auto*, const char* key, void* value) {
      return Call("UpdateCUDAProviderOptionsWithValue " + std::string(key) + "=" +
                  std::to_string(reinterpret_cast<uintptr_t>(value)));
    };
    api.SessionOptionsAppendExecutionProvider_CUDA_V2 = [](auto*, const auto*) {
      return Call("SessionOptionsAppendExecutionProvider_CUDA_V2");
    };
    api.ReleaseCUDAProviderOptions = [](auto* made) { Release("CUDAProviderOptions", made); };
  }

  static void AddSession(ort::Api& api) {
    api.CreateSessionFromArray = [](const OrtEnv*, const void* model, size_t bytes,
                                    const auto* options, auto** made) -> OrtStatus* {
      const std::string text(static_cast<const char*>(model), bytes);
      if (OrtStatus* failed = Call("CreateSessionFromArray " + text)) return failed;
      if (!stub->Work(options->cancelled)) return Fail("the load was cancelled");
      stub->Count("Session", 1);
      *made = new OrtSession;
      return nullptr;
    };
    api.ReleaseSession = [](auto* session) { Release("Session", session); };
    api.SessionOptionsSetLoadCancellationFlag = [](auto* options, bool cancelled) -> OrtStatus* {
      if (OrtStatus* failed = Call("SessionOptionsSetLoadCancellationFlag")) return failed;
      options->cancelled = cancelled;
      return nullptr;
    };
    api.SessionGetInputCount = [](const auto*, size_t* count) {
      *count = std::size(kInputs);
      return Call("SessionGetInputCount");
    };
    api.SessionGetOutputCount = [](const auto*, size_t* count) {
      *count = std::size(kOutputs);
      return Call("SessionGetOutputCount");
    };
    api.GetAllocatorWithDefaultOptions = [](auto** allocator) {
      static OrtAllocator only;
      *allocator = &only;
      return Call("GetAllocatorWithDefaultOptions");
    };
    api.SessionGetInputName = [](const auto*, size_t index, auto*, char** name) {
      return Name("SessionGetInputName", kInputs, index, name);
    };
    api.SessionGetOutputName = [](const auto*, size_t index, auto*, char** name) {
      return Name("SessionGetOutputName", kOutputs, index, name);
    };
    api.AllocatorFree = [](auto*, void* text) { return Free("AllocatorFree", text); };
  }

  static void AddRuns(ort::Api& api) {
    api.CreateMemoryInfo = [](const char* name, int allocator, int index, int type, auto** made) {
      CHECK(allocator == 0 && type == 0, "allocator %d, memory %d", allocator, type);
      const std::string device = name + std::string(":") + std::to_string(index);
      return Create("MemoryInfo", "CreateMemoryInfo " + device, made, device);
    };
    api.ReleaseMemoryInfo = [](auto* memory) { Release("MemoryInfo", memory); };
    api.CreateTensorWithDataAsOrtValue = [](const auto* memory, void* data, size_t bytes,
                                            const int64_t* dims, size_t rank, int type,
                                            auto** made) {
      std::ostringstream text;
      text << memory->device << " type " << type << " [";
      for (size_t axis = 0; axis < rank; ++axis) text << (axis == 0 ? "" : ",") << dims[axis];
      text << "] " << bytes << " bytes at " << reinterpret_cast<uintptr_t>(data);
      const bool on_host = memory->device == "Cpu:0";
      return Create("Value", "CreateTensorWithDataAsOrtValue", made, text.str(), on_host, data,
                    bytes);
    };
    api.ReleaseValue = [](auto* value) { Release("Value", value); };
    api.CreateRunOptions = [](auto** made) {
      return Create("RunOptions", "CreateRunOptions", made);
    };
    api.AddRunConfigEntry = [](auto*, const char* key, const char* value) {
      return Call(Join("AddRunConfigEntry", &key, &value, 1));
    };
    api.ReleaseRunOptions = [](auto* options) { Release("RunOptions", options); };
    api.RunOptionsSetTerminate = [](auto* options) -> OrtStatus* {
      if (OrtStatus* failed = Call("RunOptionsSetTerminate")) return failed;
      options->cancelled = true;
      return nullptr;
    };
    api.CreateIoBinding = [](auto*, auto** made) {
      return Create("IoBinding", "CreateIoBinding", made);
    };
    api.ReleaseIoBinding = [](auto* binding) { Release("IoBinding", binding); };
    api.BindInput = [](auto* binding, const char* name, const auto* value) {
      binding->inputs[name] = *value;
      return Call("BindInput " + std::string(name) + " " + value->text);
    };
    api.BindOutput = [](auto* binding, const char* name, const auto* value) {
      binding->outputs[name] = *value;
      return Call("BindOutput " + std::string(name) + " " + value->text);
    };
    api.RunWithBinding = [](auto*, const auto* options, const auto* binding) -> OrtStatus* {
      if (OrtStatus* failed = Call("RunWithBinding")) return failed;
      if (!stub->Work(options->cancelled)) return Fail("the run was cancelled");
      Compute(*binding);
      return nullptr;
    };
  }

  static ort::Api All() {
    ort::Api api;
    api.GetErrorMessage = [](const auto* status) { return status->text.c_str(); };
    api.ReleaseStatus = [](auto* status) { Release("Status", status); };
    api.CreateEnv = [](int level, const char* name, auto** made) {
      static OrtEnv only;
      *made = &only;
      const char* telemetry = std::getenv("ORT_DISABLE_TELEMETRY");
      return Call("CreateEnv " + std::string(name) + " " + std::to_string(level) +
                  ", ORT_DISABLE_TELEMETRY=" + (telemetry == nullptr ? "" : telemetry));
    };
    api.DisableTelemetryEvents = [](const auto*) { return Call("DisableTelemetryEvents"); };
    api.GetAvailableProviders = [](char*** names, int* count) -> OrtStatus* {
      if (OrtStatus* failed = Call("GetAvailableProviders")) return failed;
      static char cpu[] = "CPUExecutionProvider", cuda[] = "CUDAExecutionProvider";
      stub->Count("Providers", 1);
      *names = new char* [2] { cpu, cuda };
      *count = 2;
      return nullptr;
    };
    api.ReleaseAvailableProviders = [](char** names, int) {
      stub->Count("Providers", -1);
      delete[] names;
      return Call("ReleaseAvailableProviders");
    };
    AddOptions(api);
    AddSession(api);
    AddRuns(api);
    return api;
  }

  static OrtStatus* AppendDirectMl(OrtSessionOptions*, int device) {
    return Call("OrtSessionOptionsAppendExecutionProvider_DML " + std::to_string(device));
  }
};

OrtStub::OrtStub() : table_(300), base_{} {
  CHECK(stub == nullptr, "two at a time");
  stub = this;
  const ort::Api api = OrtStubFunctions::All();
  // What is not there is null, and ends the test when it is called.
#define LONGVLM_ORT_PUT(name, position, ...) \
  table_[position] = reinterpret_cast<const void*>(api.name);
  LONGVLM_ORT_API(LONGVLM_ORT_PUT)
#undef LONGVLM_ORT_PUT
  base_.get_api = [](uint32_t version) -> const void* const* {
    return version == ort::kApiVersion ? stub->table_.data() : nullptr;
  };
  base_.get_version = [] { return "1.99.0"; };
}

OrtStub::~OrtStub() {
  CHECK(live().empty(), "not released: %s", live().c_str());
  stub = nullptr;
}

ort::Library::Exports OrtStub::exports() const {
  return [](const char* name) -> void* {
    if (std::strcmp(name, "OrtGetApiBase") == 0) {
      const ort::ApiBase* (*get)() = [] { return const_cast<const ort::ApiBase*>(&stub->base_); };
      return reinterpret_cast<void*>(get);
    }
    if (std::strcmp(name, "OrtSessionOptionsAppendExecutionProvider_DML") == 0) {
      return reinterpret_cast<void*>(&OrtStubFunctions::AppendDirectMl);
    }
    return nullptr;
  };
}

OrtStatus* OrtStub::Call(const std::string& text) {
  std::function<void()> action;
  bool fails = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    calls_.push_back(text);
    fails = fails_after_-- == 0;
    if (acts_after_-- == 0) action = std::move(action_);
  }
  if (action) action();
  return fails ? OrtStubFunctions::Fail(failure_) : nullptr;
}

bool OrtStub::Work(const std::atomic<bool>& cancelled) {
  if (cancelled) return false;
  ++begun_;
  for (int step = 0; step < steps_; ++step) {
    if (cancelled) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  return true;
}

void OrtStub::WaitUntilBegun(size_t count) const {
  for (int tries = 0; begun_ < count; ++tries) {
    CHECK(tries < 1'000'000, "only %zu have begun", begun_.load());
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

void OrtStub::Count(const char* kind, int change) {
  const std::lock_guard<std::mutex> lock(mutex_);
  CHECK((live_[kind] += change) >= 0, "%s was released twice", kind);
}

std::vector<std::string> OrtStub::calls() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return calls_;
}

void OrtStub::Note(const std::string& text) {
  const std::lock_guard<std::mutex> lock(mutex_);
  calls_.push_back(text);
}

void OrtStub::ForgetCalls() {
  const std::lock_guard<std::mutex> lock(mutex_);
  calls_.clear();
}

std::string OrtStub::live() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::string text;
  for (const auto& [kind, count] : live_) {
    if (count != 0) text += kind + " " + std::to_string(count) + " ";
  }
  return text;
}

void OrtStub::FailAfter(size_t count, const std::string& text) {
  const std::lock_guard<std::mutex> lock(mutex_);
  failure_ = text;
  fails_after_ = static_cast<std::ptrdiff_t>(count);
}

void OrtStub::DoAfter(size_t count, std::function<void()> action) {
  const std::lock_guard<std::mutex> lock(mutex_);
  acts_after_ = static_cast<std::ptrdiff_t>(count);
  action_ = std::move(action);
}

}  // namespace longvlm
