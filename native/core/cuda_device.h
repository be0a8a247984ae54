// A GPU, and memory on it. Operations wait for each other and for the GPU: when a call returns, its
// result is there.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/cuda_library.h"
#include "core/function_ref.h"
#include "core/tensor.h"

namespace longvlm {

class CudaDevice : public std::enable_shared_from_this<CudaDevice> {
 public:
  // GPU number `index` of the library in the file `path`, the same object for all who ask while one
  // has it. Throws Error ERR_LONGVLM_CUDA.
  static std::shared_ptr<CudaDevice> Get(const std::string& path, int32_t index);

  CudaDevice(const CudaFunctions& cuda, int32_t index);
  ~CudaDevice();
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  int32_t index() const { return index_; }
  const CudaFunctions& cuda() const { return cuda_; }

  // Copies through page-locked memory, one half on its way while the other is filled. Throws Error,
  // and Cancelled between two halves.
  void Upload(void* to, const void* from_host, size_t bytes, const std::atomic<bool>& cancelled);
  void Download(void* to_host, const void* from, size_t bytes, const std::atomic<bool>& cancelled);

  // Calls operation(workspace, workspace_bytes, stream), an operation of longvlm_cuda.h that writes
  // to report(), first for the workspace's size, and waits for it. Gives what it reported.
  using Operation = FunctionRef<lv_status(void*, size_t*, lv_stream)>;
  lv_report Run(Operation operation);
  lv_report* report() const { return static_cast<lv_report*>(report_); }

 private:
  static constexpr size_t kStagingBytes = size_t{4} << 20;

  void FreeAll();
  void Copy(size_t bytes, const std::atomic<bool>& cancelled, bool up, char* device, char* host);

  const CudaFunctions& cuda_;
  const int32_t index_;
  std::mutex mutex_;
  lv_stream streams_[2] = {};
  void* staging_[2] = {};
  void* report_ = nullptr;
  void* workspace_ = nullptr;
  size_t workspace_bytes_ = 0;
};

class DeviceMemory {
 public:
  // Throws Error ERR_LONGVLM_CUDA_OOM or ERR_LONGVLM_CUDA.
  DeviceMemory(std::shared_ptr<CudaDevice> device, size_t bytes);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  CudaDevice& device() const { return *device_; }
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<CudaDevice> device_;
  void* data_ = nullptr;
  size_t bytes_;
};

// Throws Error ERR_LONGVLM_NOT_FINITE, or std::invalid_argument, when something was found in a
// tensor of `shape`.
void CheckReport(const lv_report& report, const Shape& shape, const TensorNames& names);

}  // namespace longvlm
