// The part of ONNX Runtime's C API that sessions need: positions in its table of functions, which
// is only ever appended to, and their types.
//
// They are restated here because onnxruntime-node, which brings the library, ships no header.
// scripts/check-ort-abi.mjs compares them with the original where that is at hand. The types have
// the original's names so that they can be compared; enumerations are ints.
#pragma once

#include <cstddef>
#include <cstdint>

struct OrtStatus;
struct OrtEnv;
struct OrtSession;
struct OrtSessionOptions;
struct OrtRunOptions;
struct OrtMemoryInfo;
struct OrtValue;
struct OrtIoBinding;
struct OrtAllocator;
struct OrtCUDAProviderOptionsV2;

namespace longvlm::ort {

// The version of the table that is asked for: the first with SessionOptionsSetLoadCancellationFlag.
constexpr uint32_t kApiVersion = 22;

// OrtLoggingLevel
constexpr int kLogFatal = 4;
// OrtAllocatorType, OrtMemType
constexpr int kDeviceAllocator = 0;
constexpr int kDefaultMemory = 0;
// ExecutionMode
constexpr int kSequential = 0;
// ONNXTensorElementDataType
constexpr int kFloat = 1;
constexpr int kUint8 = 2;
constexpr int kFloat16 = 10;

// OrtApiBase
struct ApiBase {
  const void* const* (*get_api)(uint32_t version);
  const char* (*get_version)();
};

// X(name, position, type)
#define LONGVLM_ORT_API(X)                                                                        \
  X(GetErrorMessage, 2, const char* (*)(const OrtStatus*))                                        \
  X(CreateEnv, 3, OrtStatus* (*)(int, const char*, OrtEnv**))                                     \
  X(DisableTelemetryEvents, 6, OrtStatus* (*)(const OrtEnv*))                                     \
  X(CreateSessionFromArray, 8,                                                                    \
    OrtStatus* (*)(const OrtEnv*, const void*, size_t, const OrtSessionOptions*, OrtSession**))   \
  X(CreateSessionOptions, 10, OrtStatus* (*)(OrtSessionOptions**))                                \
  X(SetSessionExecutionMode, 13, OrtStatus* (*)(OrtSessionOptions*, int))                         \
  X(DisableMemPattern, 17, OrtStatus* (*)(OrtSessionOptions*))                                    \
  X(SetSessionLogSeverityLevel, 22, OrtStatus* (*)(OrtSessionOptions*, int))                      \
  X(SetIntraOpNumThreads, 24, OrtStatus* (*)(OrtSessionOptions*, int))                            \
  X(SessionGetInputCount, 30, OrtStatus* (*)(const OrtSession*, size_t*))                         \
  X(SessionGetOutputCount, 31, OrtStatus* (*)(const OrtSession*, size_t*))                        \
  X(SessionGetInputName, 36, OrtStatus* (*)(const OrtSession*, size_t, OrtAllocator*, char**))    \
  X(SessionGetOutputName, 37, OrtStatus* (*)(const OrtSession*, size_t, OrtAllocator*, char**))   \
  X(CreateRunOptions, 39, OrtStatus* (*)(OrtRunOptions**))                                        \
  X(RunOptionsSetTerminate, 46, OrtStatus* (*)(OrtRunOptions*))                                   \
  X(CreateTensorWithDataAsOrtValue, 49,                                                           \
    OrtStatus* (*)(const OrtMemoryInfo*, void*, size_t, const int64_t*, size_t, int, OrtValue**)) \
  X(CreateMemoryInfo, 68, OrtStatus* (*)(const char*, int, int, int, OrtMemoryInfo**))            \
  X(AllocatorFree, 76, OrtStatus* (*)(OrtAllocator*, void*))                                      \
  X(GetAllocatorWithDefaultOptions, 78, OrtStatus* (*)(OrtAllocator**))                           \
  X(ReleaseStatus, 93, void (*)(OrtStatus*))                                                      \
  X(ReleaseMemoryInfo, 94, void (*)(OrtMemoryInfo*))                                              \
  X(ReleaseSession, 95, void (*)(OrtSession*))                                                    \
  X(ReleaseValue, 96, void (*)(OrtValue*))                                                        \
  X(ReleaseRunOptions, 97, void (*)(OrtRunOptions*))                                              \
  X(ReleaseSessionOptions, 100, void (*)(OrtSessionOptions*))                                     \
  X(GetAvailableProviders, 125, OrtStatus* (*)(char***, int*))                                    \
  X(ReleaseAvailableProviders, 126, OrtStatus* (*)(char**, int))                                  \
  X(AddSessionConfigEntry, 130, OrtStatus* (*)(OrtSessionOptions*, const char*, const char*))     \
  X(RunWithBinding, 133, OrtStatus* (*)(OrtSession*, const OrtRunOptions*, const OrtIoBinding*))  \
  X(CreateIoBinding, 134, OrtStatus* (*)(OrtSession*, OrtIoBinding**))                            \
  X(ReleaseIoBinding, 135, void (*)(OrtIoBinding*))                                               \
  X(BindInput, 136, OrtStatus* (*)(OrtIoBinding*, const char*, const OrtValue*))                  \
  X(BindOutput, 137, OrtStatus* (*)(OrtIoBinding*, const char*, const OrtValue*))                 \
  X(AddRunConfigEntry, 165, OrtStatus* (*)(OrtRunOptions*, const char*, const char*))             \
  X(SessionOptionsAppendExecutionProvider_CUDA_V2, 204,                                           \
    OrtStatus* (*)(OrtSessionOptions*, const OrtCUDAProviderOptionsV2*))                          \
  X(CreateCUDAProviderOptions, 205, OrtStatus* (*)(OrtCUDAProviderOptionsV2**))                   \
  X(UpdateCUDAProviderOptions, 206,                                                               \
    OrtStatus* (*)(OrtCUDAProviderOptionsV2*, const char* const*, const char* const*, size_t))    \
  X(ReleaseCUDAProviderOptions, 208, void (*)(OrtCUDAProviderOptionsV2*))                         \
  X(SessionOptionsAppendExecutionProvider, 216,                                                   \
    OrtStatus* (*)(OrtSessionOptions*, const char*, const char* const*, const char* const*,       \
                   size_t))                                                                       \
  X(UpdateCUDAProviderOptionsWithValue, 263,                                                      \
    OrtStatus* (*)(OrtCUDAProviderOptionsV2*, const char*, void*))                                \
  X(SessionOptionsSetLoadCancellationFlag, 293, OrtStatus* (*)(OrtSessionOptions*, bool))

// The functions of OrtApi, by their names.
struct Api {
#define LONGVLM_ORT_MEMBER(name, position, ...) \
  using name##Type = __VA_ARGS__;               \
  name##Type name = nullptr;
  LONGVLM_ORT_API(LONGVLM_ORT_MEMBER)
#undef LONGVLM_ORT_MEMBER
};

}  // namespace longvlm::ort
