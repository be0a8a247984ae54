#include "ort/session.h"

#include <algorithm>

namespace longvlm::ort {
namespace {

// Keys and values as the C API takes them.
struct Columns {
  explicit Columns(const Settings& settings) {
    for (const auto& [key, value] : settings) {
      keys.push_back(key.c_str());
      values.push_back(value.c_str());
    }
  }
  std::vector<const char*> keys;
  std::vector<const char*> values;
};

void AppendCuda(const Library& library, OrtSessionOptions* options, const Columns& columns,
                const CudaDevice* device) {
  const Api& api = library.api();
  const auto cuda = Make<OrtCUDAProviderOptionsV2>(
      api.ReleaseCUDAProviderOptions,
      [&](auto** created) { library.Check(api.CreateCUDAProviderOptions(created)); });
  library.Check(api.UpdateCUDAProviderOptions(cuda.get(), columns.keys.data(),
                                              columns.values.data(), columns.keys.size()));
  if (device != nullptr) {
    library.Check(api.UpdateCUDAProviderOptionsWithValue(cuda.get(), "user_compute_stream",
                                                         device->shared_stream()));
  }
  library.Check(api.SessionOptionsAppendExecutionProvider_CUDA_V2(options, cuda.get()));
}

// DirectML has a function of its own, and needs these two settings.
void AppendDirectMl(const Library& library, OrtSessionOptions* options) {
  using Append = OrtStatus* (*)(OrtSessionOptions*, int device);
  const auto append =
      reinterpret_cast<Append>(library.Find("OrtSessionOptionsAppendExecutionProvider_DML"));
  if (append == nullptr) throw Error("ERR_LONGVLM_INFERENCE", "this build has no DirectML");
  library.Check(library.api().DisableMemPattern(options));
  library.Check(library.api().SetSessionExecutionMode(options, kSequential));
  library.Check(append(options, 0));
}

void AppendProvider(const Library& library, OrtSessionOptions* options,
                    const SessionOptions& wanted) {
  Settings settings = wanted.provider_options;
  const std::string gpu = std::to_string(wanted.gpu);
  if (wanted.provider == "cuda") settings.emplace_back("device_id", gpu);
  const Columns columns(settings);
  if (wanted.provider == "cpu") return;
  if (wanted.provider == "cuda") {
    return AppendCuda(library, options, columns, wanted.device.get());
  }
  if (wanted.provider == "dml") return AppendDirectMl(library, options);
  library.Check(library.api().SessionOptionsAppendExecutionProvider(
      options, wanted.provider.c_str(), columns.keys.data(), columns.values.data(),
      columns.keys.size()));
}

Handle<OrtSessionOptions> MakeOptions(const Library& library, const SessionOptions& wanted) {
  const Api& api = library.api();
  auto options = Make<OrtSessionOptions>(api.ReleaseSessionOptions, [&](auto** created) {
    library.Check(api.CreateSessionOptions(created));
  });
  library.Check(api.SetIntraOpNumThreads(options.get(), wanted.threads));
  // Errors reach the caller; they are not to be printed as well.
  library.Check(api.SetSessionLogSeverityLevel(options.get(), kLogFatal));
  for (const auto& [key, value] : wanted.config) {
    library.Check(api.AddSessionConfigEntry(options.get(), key.c_str(), value.c_str()));
  }
  AppendProvider(library, options.get(), wanted);
  return options;
}

// Whether that is why something failed, in the words of ONNX Runtime's arena, CUDA and cuBLAS.
bool IsForWantOfMemory(const std::string& message) {
  constexpr const char* kWords[] = {"Failed to allocate memory", "is smaller than requested bytes",
                                    "out of memory", "ALLOC_FAILED"};
  return std::ranges::any_of(
      kWords, [&](const char* words) { return message.find(words) != std::string::npos; });
}

// Calls body(), with a code of its own for a lack of memory.
template <typename Body>
void OnGpu(bool is_gpu, Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    if (!is_gpu || !IsForWantOfMemory(error.what())) throw;
    throw Error("ERR_LONGVLM_CUDA_OOM", error.what());
  }
}

Handle<OrtMemoryInfo> MakeMemory(const Library& library, const char* name, int index) {
  return Make<OrtMemoryInfo>(library.api().ReleaseMemoryInfo, [&](auto** created) {
    library.Check(
        library.api().CreateMemoryInfo(name, kDeviceAllocator, index, kDefaultMemory, created));
  });
}

using Count = OrtStatus* (*)(const OrtSession*, size_t*);
using Name = OrtStatus* (*)(const OrtSession*, size_t, OrtAllocator*, char**);

std::vector<std::string> Names(const Library& library, const OrtSession* session, Count count,
                               Name name) {
  size_t number = 0;
  library.Check(count(session, &number));
  OrtAllocator* allocator = nullptr;
  library.Check(library.api().GetAllocatorWithDefaultOptions(&allocator));
  std::vector<std::string> names;
  for (size_t i = 0; i < number; ++i) {
    char* text = nullptr;
    library.Check(name(session, i, allocator, &text));
    names.emplace_back(text);
    library.Check(library.api().AllocatorFree(allocator, text));
  }
  return names;
}

}  // namespace

Session::Session(const Library& library, std::span<const std::byte> model,
                 const SessionOptions& wanted, Cancellation& cancellation)
    : library_(library),
      device_(wanted.device),
      session_(nullptr, library.api().ReleaseSession),
      gpu_(wanted.provider == "cuda" ? std::optional(wanted.gpu) : std::nullopt),
      host_memory_(MakeMemory(library, "Cpu", 0)),
      gpu_memory_(gpu_ ? MakeMemory(library, "Cuda", *gpu_)
                       : Handle<OrtMemoryInfo>(nullptr, library.api().ReleaseMemoryInfo)) {
  const Api& api = library.api();
  const auto options = MakeOptions(library, wanted);
  const auto end = [&] {
    library.Ignore(api.SessionOptionsSetLoadCancellationFlag(options.get(), true));
  };
  cancellation.During(end, [&] {
    OrtSession* session = nullptr;
    OnGpu(gpu_.has_value(), [&] {
      library.Check(api.CreateSessionFromArray(library.environment(), model.data(), model.size(),
                                               options.get(), &session));
    });
    session_.reset(session);
  });
  input_names_ = Names(library, session_.get(), api.SessionGetInputCount, api.SessionGetInputName);
  output_names_ =
      Names(library, session_.get(), api.SessionGetOutputCount, api.SessionGetOutputName);
}

void Session::CheckOperands(const std::vector<Operand>& operands, const char* kind,
                            const std::vector<std::string>& known) const {
  for (const Operand& operand : operands) {
    if (std::ranges::find(known, operand.name) == known.end()) {
      throw Error("ERR_LONGVLM_INFERENCE",
                  "The graph has no " + std::string(kind) + " " + operand.name);
    }
    if (operand.gpu && operand.gpu != gpu_) {
      throw Error("ERR_LONGVLM_INFERENCE", std::string(kind) + " " + operand.name +
                                               " is on a GPU that the graph does not run on");
    }
  }
}

// Rows [from, from + rows) of an operand, in place.
Handle<OrtValue> Session::Rows(const Operand& operand, int64_t from, int64_t rows) const {
  std::vector<int64_t> dims = operand.dims;
  dims[0] = rows;
  const auto first = operand.row_bytes * static_cast<size_t>(from);
  return Make<OrtValue>(library_.api().ReleaseValue, [&](auto** created) {
    library_.Check(library_.api().CreateTensorWithDataAsOrtValue(
        (operand.gpu ? gpu_memory_ : host_memory_).get(),
        static_cast<std::byte*>(operand.data) + first,
        operand.row_bytes * static_cast<size_t>(rows), dims.data(), dims.size(), operand.type,
        created));
  });
}

void Session::Run(const RunCall& call, Cancellation& cancellation) {
  if (device_ == nullptr) return RunGraph(call, cancellation);
  const lv_stream stream = device_->shared_stream();
  const auto check = [&] {
    if (cancellation.cancelled()) throw Cancelled();
  };
  try {
    for (const Transfer& upload : call.uploads) {
      check();
      device_->EnqueueUpload(upload.device->data(), upload.host, upload.bytes, stream);
    }
    if (call.rows > 0) RunGraph(call, cancellation);
    for (const CudaOperation& operation : call.operations) {
      check();
      device_->Enqueue(operation, stream);
    }
  } catch (...) {
    try {
      device_->Finish(stream);
    } catch (...) {  // Why it could not go on says more.
    }
    throw;
  }
  device_->Finish(stream);
  for (const Transfer& download : call.downloads) {
    check();
    device_->Download(download.host, download.device->data(), download.bytes, cancellation.flag());
  }
  check();
}

void Session::RunGraph(const RunCall& call, Cancellation& cancellation) {
  CheckOperands(call.inputs, "input", input_names_);
  CheckOperands(call.outputs, "output", output_names_);
  const Api& api = library_.api();
  const auto options = Make<OrtRunOptions>(api.ReleaseRunOptions, [&](auto** created) {
    library_.Check(api.CreateRunOptions(created));
  });
  // Run() waits for the stream that is its own.
  if (device_ != nullptr && gpu_) {
    library_.Check(
        api.AddRunConfigEntry(options.get(), "disable_synchronize_execution_providers", "1"));
  }
  const auto binding = Make<OrtIoBinding>(api.ReleaseIoBinding, [&](auto** created) {
    library_.Check(api.CreateIoBinding(session_.get(), created));
  });
  const auto end = [&] { library_.Ignore(api.RunOptionsSetTerminate(options.get())); };
  cancellation.During(end, [&] {
    for (int64_t from = 0; from < call.rows; from += call.batch) {
      // A run may end well although it was to be ended.
      if (cancellation.cancelled()) throw Cancelled();
      const int64_t rows = std::min(call.batch, call.rows - from);
      // The binding holds on to what is bound.
      for (const Operand& input : call.inputs) {
        library_.Check(
            api.BindInput(binding.get(), input.name.c_str(), Rows(input, from, rows).get()));
      }
      for (const Operand& output : call.outputs) {
        library_.Check(
            api.BindOutput(binding.get(), output.name.c_str(), Rows(output, from, rows).get()));
      }
      OnGpu(gpu_.has_value(), [&] {
        library_.Check(api.RunWithBinding(session_.get(), options.get(), binding.get()));
      });
    }
  });
}

}  // namespace longvlm::ort
