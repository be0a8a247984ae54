// Helpers of the exported functions: error texts, argument checks, the current device.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "longvlm_cuda.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace longvlm::cuda {

// Store the text for lv_last_error and return the matching status.
lv_status Fail(lv_status status, const char* format, ...) __attribute__((format(printf, 2, 3)));
lv_status CudaFailure(cudaError_t error, const char* statement, const char* file, int line);

#define LV_CUDA(statement)                                                           \
  do {                                                                               \
    const cudaError_t lv_error = (statement);                                        \
    if (lv_error != cudaSuccess) {                                                   \
      return ::longvlm::cuda::CudaFailure(lv_error, #statement, __FILE__, __LINE__); \
    }                                                                                \
  } while (false)

#define LV_TRY(statement)                     \
  do {                                        \
    const lv_status lv_result = (statement);  \
    if (lv_result != LV_OK) return lv_result; \
  } while (false)

// `what` is a condition on the arguments of a function.
#define LV_EXPECT(condition, ...)                                                           \
  do {                                                                                      \
    if (!(condition)) return ::longvlm::cuda::Fail(LV_ERROR_INVALID_ARGUMENT, __VA_ARGS__); \
  } while (false)

// Makes a device current, and restores the previous one at the end.
class DeviceScope {
 public:
  explicit DeviceScope(int32_t device);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

  lv_status status() const { return status_; }

 private:
  int previous_ = -1;
  lv_status status_ = LV_OK;
};

#define LV_ON_DEVICE(device)                           \
  const ::longvlm::cuda::DeviceScope lv_scope(device); \
  if (lv_scope.status() != LV_OK) return lv_scope.status()

inline cudaStream_t ToCuda(lv_stream stream) { return reinterpret_cast<cudaStream_t>(stream); }

inline size_t CeilDiv(size_t value, size_t by) { return (value + by - 1) / by; }

// Divides a workspace into arrays; with a null base it only computes the size.
class Arena {
 public:
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}

  template <typename T>
  T* Take(size_t count) {
    T* const array = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + bytes_);
    constexpr size_t kAlign = 256;
    [[maybe_unused]] const size_t begin = bytes_;
    bytes_ += CeilDiv(count * sizeof(T), kAlign) * kAlign;
#if defined(__SANITIZE_ADDRESS__)
    // In the tests' emulation, gaps between arrays are not accessible.
    bytes_ += kAlign;
    if (base_ != nullptr) {
      __asan_unpoison_memory_region(base_ + begin, bytes_ - begin);
      __asan_poison_memory_region(base_ + begin + count * sizeof(T),
                                  bytes_ - begin - count * sizeof(T));
    }
#endif
    return array;
  }

  size_t bytes() const { return bytes_ == 0 ? 1 : bytes_; }

 private:
  char* base_;
  size_t bytes_ = 0;
};

inline size_t TypeBytes(lv_type type) { return type == LV_FLOAT32 ? 4 : 2; }

lv_status CheckType(lv_type type);
lv_status CheckWorkspace(const void* workspace, size_t given, size_t needed);
// Checks that the size of batch * rows * width values of 8 bytes fits into 63 bits.
lv_status CheckVolume(uint64_t batch, uint64_t rows, uint64_t width);
// Checks that a segment's metric does not exceed the kernels' index range.
lv_status CheckMetric(uint64_t tokens, uint64_t dims);
// Clears a report.
lv_status ClearReport(lv_report* report, cudaStream_t stream);

inline constexpr uint64_t kMaxTokens = uint64_t{1} << 26;

}  // namespace longvlm::cuda
