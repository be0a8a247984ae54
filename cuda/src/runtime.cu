// Devices, memory and streams; errors; argument checks.
#include <cuda_runtime.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "check.h"

namespace longvlm::cuda {
namespace {

// A plain array: no destructor when a thread exits or the library is closed.
thread_local char last_error[1024] = "";

}  // namespace

lv_status Fail(lv_status status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(last_error, sizeof(last_error), format, arguments);
  va_end(arguments);
  return status;
}

lv_status CudaFailure(cudaError_t error, const char* statement, const char* file, int line) {
  int device = -1;
  // Both calls may fail as well. Clear non-fatal errors, so that a later call does not report them.
  if (cudaGetDevice(&device) != cudaSuccess) device = -1;
  (void)cudaGetLastError();
  const char* const slash = std::strrchr(file, '/');
  const bool no_device = error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver ||
                         error == cudaErrorInvalidDevice || error == cudaErrorInitializationError;
  const lv_status status = no_device                            ? LV_ERROR_NO_DEVICE
                           : error == cudaErrorMemoryAllocation ? LV_ERROR_OUT_OF_MEMORY
                                                                : LV_ERROR_CUDA;
  return Fail(status, "CUDA: %s (%s), device %d, at %s:%d: %s", cudaGetErrorString(error),
              cudaGetErrorName(error), device, slash == nullptr ? file : slash + 1, line,
              statement);
}

namespace {

lv_status MakeCurrent(int32_t device, int* previous) {
  int count = 0;
  LV_CUDA(cudaGetDeviceCount(&count));
  if (device < 0 || device >= count) {
    return Fail(LV_ERROR_NO_DEVICE, "There is no device %d: this machine has %d", device, count);
  }
  LV_CUDA(cudaGetDevice(previous));
  if (*previous != device) LV_CUDA(cudaSetDevice(device));
  return LV_OK;
}

}  // namespace

DeviceScope::DeviceScope(int32_t device) {
  int previous = -1;
  status_ = MakeCurrent(device, &previous);
  if (status_ == LV_OK && previous != device) previous_ = previous;
}

DeviceScope::~DeviceScope() {
  if (previous_ >= 0) (void)cudaSetDevice(previous_);
}

lv_status CheckType(lv_type type) {
  LV_EXPECT(type == LV_FLOAT32 || type == LV_FLOAT16 || type == LV_BFLOAT16,
            "Expected LV_FLOAT32, LV_FLOAT16 or LV_BFLOAT16 for type but received %d", type);
  return LV_OK;
}

lv_status CheckWorkspace(const void* workspace, size_t given, size_t needed) {
  LV_EXPECT(given >= needed, "Expected a workspace of %zu bytes but received %zu", needed, given);
  LV_EXPECT(reinterpret_cast<uintptr_t>(workspace) % 256 == 0,
            "Expected a workspace aligned to 256 bytes but received %p", workspace);
  return LV_OK;
}

lv_status CheckVolume(uint64_t batch, uint64_t rows, uint64_t width) {
  constexpr uint64_t kMost = uint64_t{1} << 58;
  constexpr uint64_t kMostOfOne = 0x7fffffff;
  LV_EXPECT(batch <= kMostOfOne && rows <= (uint64_t{1} << 40) && width <= kMostOfOne &&
                rows <= kMost / batch && width <= kMost / batch / rows,
            "The shape [%llu, %llu, %llu] is too large", static_cast<unsigned long long>(batch),
            static_cast<unsigned long long>(rows), static_cast<unsigned long long>(width));
  return LV_OK;
}

lv_status CheckMetric(uint64_t tokens, uint64_t dims) {
  constexpr uint64_t kMost = uint64_t{1} << 32;
  LV_EXPECT(dims <= kMost / tokens, "The metric of a segment, [%llu, %llu], is too large",
            static_cast<unsigned long long>(tokens), static_cast<unsigned long long>(dims));
  return LV_OK;
}

lv_status ClearReport(lv_report* report, cudaStream_t stream) {
  LV_CUDA(cudaMemsetAsync(report, 0xff, sizeof(lv_report), stream));
  return LV_OK;
}

}  // namespace longvlm::cuda

using namespace longvlm::cuda;

uint32_t lv_abi_version(void) { return LV_ABI_VERSION; }

const char* lv_last_error(void) { return last_error; }

lv_status lv_device_count(int32_t* count) {
  LV_EXPECT(count != nullptr, "Expected count but received null");
  *count = 0;
  int found = 0;
  const cudaError_t error = cudaGetDeviceCount(&found);
  if (error == cudaErrorInsufficientDriver || error == cudaErrorNoDevice) {
    (void)cudaGetLastError();
    return Fail(LV_ERROR_NO_DEVICE, "%s (%s)",
                error == cudaErrorNoDevice
                    ? "No NVIDIA GPU was found"
                    : "The NVIDIA driver is missing or older than this CUDA runtime",
                cudaGetErrorString(error));
  }
  LV_CUDA(error);
  *count = found;
  if (found == 0) return Fail(LV_ERROR_NO_DEVICE, "No NVIDIA GPU was found");
  return LV_OK;
}

lv_status lv_get_device_info(int32_t device, lv_device_info* info) {
  LV_EXPECT(info != nullptr, "Expected info but received null");
  LV_ON_DEVICE(device);
  *info = {};
  cudaDeviceProp properties;
  LV_CUDA(cudaGetDeviceProperties(&properties, device));
  std::snprintf(info->name, sizeof(info->name), "%s", properties.name);
  info->compute_major = properties.major;
  info->compute_minor = properties.minor;
  info->multiprocessors = properties.multiProcessorCount;
#ifdef LV_EMULATED
  info->host_memory = 1;
#endif
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  LV_CUDA(cudaMemGetInfo(&free_bytes, &total_bytes));
  info->free_bytes = free_bytes;
  info->total_bytes = total_bytes;
  LV_CUDA(cudaDriverGetVersion(&info->driver_version));
  LV_CUDA(cudaRuntimeGetVersion(&info->runtime_version));
  int clock = 0;
  int bits = 0;
  // Not every driver reports these.
  const bool told =
      cudaDeviceGetAttribute(&clock, cudaDevAttrMemoryClockRate, device) == cudaSuccess &&
      cudaDeviceGetAttribute(&bits, cudaDevAttrGlobalMemoryBusWidth, device) == cudaSuccess;
  if (!told) (void)cudaGetLastError();
  if (told) {
    info->memory_clock_khz = clock;
    info->memory_bus_bits = bits;
    // Two transfers per clock cycle.
    info->memory_bytes_per_second = 2.0 * 1000.0 * clock * (bits / 8.0);
  }
  return LV_OK;
}

lv_status lv_stream_create(int32_t device, lv_stream* stream) {
  LV_EXPECT(stream != nullptr, "Expected stream but received null");
  LV_ON_DEVICE(device);
  cudaStream_t created = nullptr;
  // Non-blocking: does not wait for work on the default stream.
  LV_CUDA(cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking));
  *stream = reinterpret_cast<lv_stream>(created);
  return LV_OK;
}

lv_status lv_stream_destroy(int32_t device, lv_stream stream) {
  if (stream == nullptr) return LV_OK;
  LV_ON_DEVICE(device);
  LV_CUDA(cudaStreamDestroy(ToCuda(stream)));
  return LV_OK;
}

lv_status lv_stream_synchronize(int32_t device, lv_stream stream) {
  LV_ON_DEVICE(device);
  LV_CUDA(cudaStreamSynchronize(ToCuda(stream)));
  return LV_OK;
}

lv_status lv_device_alloc(int32_t device, size_t bytes, void** pointer) {
  LV_EXPECT(pointer != nullptr, "Expected pointer but received null");
  *pointer = nullptr;
  LV_ON_DEVICE(device);
  if (bytes > 0) LV_CUDA(cudaMalloc(pointer, bytes));
  return LV_OK;
}

lv_status lv_device_free(int32_t device, void* pointer) {
  if (pointer == nullptr) return LV_OK;
  LV_ON_DEVICE(device);
  LV_CUDA(cudaFree(pointer));
  return LV_OK;
}

lv_status lv_host_alloc(int32_t device, size_t bytes, void** pointer) {
  LV_EXPECT(pointer != nullptr, "Expected pointer but received null");
  *pointer = nullptr;
  LV_ON_DEVICE(device);
  if (bytes > 0) LV_CUDA(cudaMallocHost(pointer, bytes));
  return LV_OK;
}

lv_status lv_host_free(int32_t device, void* pointer) {
  if (pointer == nullptr) return LV_OK;
  LV_ON_DEVICE(device);
  LV_CUDA(cudaFreeHost(pointer));
  return LV_OK;
}

lv_status lv_copy_to_device(int32_t device, void* to, const void* from_host, size_t bytes,
                            lv_stream stream) {
  LV_ON_DEVICE(device);
  LV_CUDA(cudaMemcpyAsync(to, from_host, bytes, cudaMemcpyHostToDevice, ToCuda(stream)));
  return LV_OK;
}

lv_status lv_copy_to_host(int32_t device, void* to_host, const void* from, size_t bytes,
                          lv_stream stream) {
  LV_ON_DEVICE(device);
  LV_CUDA(cudaMemcpyAsync(to_host, from, bytes, cudaMemcpyDeviceToHost, ToCuda(stream)));
  return LV_OK;
}

lv_status lv_copy_on_device(int32_t device, void* to, const void* from, size_t bytes,
                            lv_stream stream) {
  LV_ON_DEVICE(device);
  LV_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, ToCuda(stream)));
  return LV_OK;
}

lv_status lv_memset(int32_t device, void* to, int32_t byte, size_t bytes, lv_stream stream) {
  LV_ON_DEVICE(device);
  LV_CUDA(cudaMemsetAsync(to, byte, bytes, ToCuda(stream)));
  return LV_OK;
}

lv_status lv_event_create(int32_t device, lv_event* event) {
  LV_EXPECT(event != nullptr, "Expected event but received null");
  LV_ON_DEVICE(device);
  cudaEvent_t created = nullptr;
  LV_CUDA(cudaEventCreate(&created));
  *event = reinterpret_cast<lv_event>(created);
  return LV_OK;
}

lv_status lv_event_destroy(int32_t device, lv_event event) {
  if (event == nullptr) return LV_OK;
  LV_ON_DEVICE(device);
  LV_CUDA(cudaEventDestroy(reinterpret_cast<cudaEvent_t>(event)));
  return LV_OK;
}

lv_status lv_event_record(int32_t device, lv_event event, lv_stream stream) {
  LV_ON_DEVICE(device);
  LV_CUDA(cudaEventRecord(reinterpret_cast<cudaEvent_t>(event), ToCuda(stream)));
  return LV_OK;
}

lv_status lv_event_elapsed(int32_t device, lv_event begin, lv_event end, float* milliseconds) {
  LV_EXPECT(milliseconds != nullptr, "Expected milliseconds but received null");
  LV_ON_DEVICE(device);
  LV_CUDA(cudaEventSynchronize(reinterpret_cast<cudaEvent_t>(end)));
  LV_CUDA(cudaEventElapsedTime(milliseconds, reinterpret_cast<cudaEvent_t>(begin),
                               reinterpret_cast<cudaEvent_t>(end)));
  return LV_OK;
}
