// A GPU, memory on it, and operations of longvlm_cuda.h that run on its streams.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/cuda_library.h"
#include "core/tensor.h"

namespace longvlm {

class DeviceMemory;

// Arguments of an operation's call: the stream, the workspace and the report.
struct CudaCall {
  int32_t device;
  lv_report* report;
  void* workspace;  // null: only *workspace_bytes is wanted
  size_t* workspace_bytes;
  lv_stream stream;
};

struct CudaOperation {
  // Calls one function of longvlm_cuda.h. Called twice; first without a workspace, to get its size.
  std::function<lv_status(const CudaFunctions&, const CudaCall&)> call;
  // Shape of the input tensor, for the error message if a value is not finite.
  Shape shape;
  TensorNames names;
  // The memory that is read and written; not freed before the operation is done.
  std::vector<std::shared_ptr<DeviceMemory>> kept = {};
};

class CudaDevice : public std::enable_shared_from_this<CudaDevice> {
 public:
  // GPU number `index` of the library in the file `path`. All callers share one object as long as
  // any of them holds it. Throws Error ERR_LONGVLM_CUDA.
  static std::shared_ptr<CudaDevice> Get(const std::string& path, int32_t index);

  CudaDevice(const CudaFunctions& cuda, int32_t index);
  ~CudaDevice();
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  int32_t index() const { return index_; }
  // Whether its memory is the host's, as an emulation's is.
  bool HasHostMemory() const;
  const CudaFunctions& cuda() const { return cuda_; }

  // Copies through page-locked memory: one half is transferred while the other is filled. Throws
  // Error, and Cancelled between two halves.
  void Upload(void* to, const void* from_host, size_t bytes, const std::atomic<bool>& cancelled);
  void Download(void* to_host, const void* from, size_t bytes, const std::atomic<bool>& cancelled);

  // The stream of work that other libraries share, such as ONNX Runtime's. Whoever uses it takes
  // turns.
  lv_stream shared_stream() const { return shared_stream_; }

  // Adds a copy to a stream of the caller. `from_host` has been read when it returns. Waits for the
  // stream only where more than kMostStaged bytes are on their way. The same holds as for Enqueue.
  void EnqueueUpload(void* to, const void* from_host, size_t bytes, lv_stream stream);

  // Adds an operation to a stream of the caller, without waiting for it. Each stream with
  // operations needs a Finish, also after a failed Enqueue. Calls for the same stream must not
  // overlap; calls for different streams may. Throws Error when the operation cannot be started.
  void Enqueue(CudaOperation operation, lv_stream stream);

  // Waits for the stream. Throws Error if an operation failed, and Error ERR_LONGVLM_NOT_FINITE or
  // std::invalid_argument for the first operation that found wrong data. In any case the stream is
  // empty afterwards, and the memory that its operations kept is released.
  void Finish(lv_stream stream);

  // Enqueue and Finish on the device's own stream: the result is complete when it returns. Thread
  // safe; concurrent calls wait for each other.
  void Run(CudaOperation operation);

 private:
  static constexpr size_t kStagingBytes = size_t{4} << 20;
  static constexpr size_t kMostStaged = 4 * kStagingBytes;
  static constexpr size_t kReportsAtOnce = 64;

  // An operation on a stream, and its report; null if the operation could not be started.
  struct Pending {
    CudaOperation operation;
    const lv_report* found = nullptr;
  };

  // The workspace that the operations of one stream share.
  struct Queue {
    void* report = nullptr;      // on the GPU, of the operation that runs
    std::vector<void*> reports;  // page-locked, kReportsAtOnce each, copies of `report`
    void* workspace = nullptr;   // on the GPU
    size_t workspace_bytes = 0;
    std::vector<void*> outgrown;  // workspaces that operations before may still use
    std::vector<void*> staging;   // page-locked, kStagingBytes each
    size_t staged = 0;            // bytes of it that are in use
    std::vector<Pending> pending;
  };

  void FreeAll();
  void Copy(size_t bytes, const std::atomic<bool>& cancelled, bool up, char* device, char* host);
  Queue& QueueOf(lv_stream stream);
  void Grow(Queue& queue, size_t bytes);
  lv_report* ReportOfLast(Queue& queue);
  void* Stage(Queue& queue, const void* from_host, size_t bytes);
  void FreeOutgrown(Queue& queue);
  static void CheckReports(const std::vector<Pending>& operations);

  const CudaFunctions& cuda_;
  const int32_t index_;
  mutable std::once_flag asked_;
  mutable bool has_host_memory_ = false;

  std::mutex copying_;  // guards both streams and both halves
  lv_stream copy_streams_[2] = {};
  void* staging_[2] = {};

  std::mutex running_;  // held by Run
  lv_stream stream_ = nullptr;
  lv_stream shared_stream_ = nullptr;

  std::mutex queues_mutex_;  // guards which queue is whose
  std::map<lv_stream, std::unique_ptr<Queue>> queues_;
  std::vector<std::unique_ptr<Queue>> idle_;
};

class DeviceMemory {
 public:
  // Allocates memory, which the destructor frees. Throws Error ERR_LONGVLM_CUDA_OOM or
  // ERR_LONGVLM_CUDA.
  DeviceMemory(std::shared_ptr<CudaDevice> device, size_t bytes);
  // Borrows memory at `address` of the device, which is not freed. `owner` is kept alive meanwhile;
  // null if the caller guarantees the lifetime.
  DeviceMemory(std::shared_ptr<CudaDevice> device, void* address, size_t bytes,
               std::shared_ptr<const void> owner);
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
  bool owned_;
  std::shared_ptr<const void> owner_;
};

// Throws Error ERR_LONGVLM_NOT_FINITE, or std::invalid_argument, if the report for a tensor of
// `shape` contains a problem.
void CheckReport(const lv_report& report, const Shape& shape, const TensorNames& names);

}  // namespace longvlm
