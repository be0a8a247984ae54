#include "core/cuda_device.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <map>
#include <stdexcept>
#include <utility>

#include "core/error.h"

namespace longvlm {

std::shared_ptr<CudaDevice> CudaDevice::Get(const std::string& path, int32_t index) {
  static std::mutex mutex;
  static std::map<std::pair<std::string, int32_t>, std::weak_ptr<CudaDevice>> devices;
  const std::lock_guard<std::mutex> lock(mutex);
  std::weak_ptr<CudaDevice>& known = devices[{path, index}];
  std::shared_ptr<CudaDevice> device = known.lock();
  if (device == nullptr) {
    device = std::make_shared<CudaDevice>(OpenCudaLibrary(path), index);
    known = device;
  }
  return device;
}

CudaDevice::CudaDevice(const CudaFunctions& cuda, int32_t index) : cuda_(cuda), index_(index) {
  try {
    CheckCuda(cuda_, cuda_.stream_create(index_, &stream_));
    CheckCuda(cuda_, cuda_.stream_create(index_, &shared_stream_));
    for (lv_stream& stream : copy_streams_) CheckCuda(cuda_, cuda_.stream_create(index_, &stream));
    for (void*& half : staging_) CheckCuda(cuda_, cuda_.host_alloc(index_, kStagingBytes, &half));
  } catch (...) {
    FreeAll();
    throw;
  }
}

CudaDevice::~CudaDevice() { FreeAll(); }

bool CudaDevice::HasHostMemory() const {
  // Drivers take a while to answer.
  std::call_once(asked_, [this] {
    lv_device_info info{};
    has_host_memory_ = cuda_.get_device_info(index_, &info) == LV_OK && info.host_memory != 0;
  });
  return has_host_memory_;
}

void CudaDevice::FreeAll() {
  cuda_.stream_destroy(index_, stream_);
  cuda_.stream_destroy(index_, shared_stream_);
  for (lv_stream stream : copy_streams_) cuda_.stream_destroy(index_, stream);
  for (void* half : staging_) cuda_.host_free(index_, half);
  for (auto& [stream, queue] : queues_) idle_.push_back(std::move(queue));
  for (const std::unique_ptr<Queue>& queue : idle_) {
    if (queue == nullptr) continue;
    FreeOutgrown(*queue);
    cuda_.device_free(index_, queue->workspace);
    cuda_.device_free(index_, queue->report);
    for (void* reports : queue->reports) cuda_.host_free(index_, reports);
    for (void* staging : queue->staging) cuda_.host_free(index_, staging);
  }
}

void CudaDevice::Copy(size_t bytes, const std::atomic<bool>& cancelled, bool up, char* device,
                      char* host) {
  const std::lock_guard<std::mutex> lock(copying_);
  // For each half of the staging memory: the chunk that is being copied to the host.
  struct Pending {
    char* to = nullptr;
    size_t bytes = 0;
  } pending[2];
  const auto finish = [&](size_t half) {
    CheckCuda(cuda_, cuda_.stream_synchronize(index_, copy_streams_[half]));
    if (pending[half].to != nullptr) {
      std::memcpy(pending[half].to, staging_[half], pending[half].bytes);
    }
    pending[half] = {};
  };
  try {
    size_t half = 0;
    for (size_t done = 0; done < bytes; half ^= 1) {
      const size_t count = std::min(kStagingBytes, bytes - done);
      finish(half);
      if (cancelled.load(std::memory_order_relaxed)) throw Cancelled();
      if (up) {
        std::memcpy(staging_[half], host + done, count);
        CheckCuda(cuda_, cuda_.copy_to_device(index_, device + done, staging_[half], count,
                                              copy_streams_[half]));
      } else {
        CheckCuda(cuda_, cuda_.copy_to_host(index_, staging_[half], device + done, count,
                                            copy_streams_[half]));
        pending[half] = {host + done, count};
      }
      done += count;
    }
    finish(half);
    finish(half ^ 1);
  } catch (...) {
    for (lv_stream stream : copy_streams_) cuda_.stream_synchronize(index_, stream);
    throw;
  }
}

void CudaDevice::Upload(void* to, const void* from_host, size_t bytes,
                        const std::atomic<bool>& cancelled) {
  Copy(bytes, cancelled, true, static_cast<char*>(to),
       const_cast<char*>(static_cast<const char*>(from_host)));
}

void CudaDevice::Download(void* to_host, const void* from, size_t bytes,
                          const std::atomic<bool>& cancelled) {
  Copy(bytes, cancelled, false, const_cast<char*>(static_cast<const char*>(from)),
       static_cast<char*>(to_host));
}

CudaDevice::Queue& CudaDevice::QueueOf(lv_stream stream) {
  const std::lock_guard<std::mutex> lock(queues_mutex_);
  std::unique_ptr<Queue>& queue = queues_[stream];
  if (queue == nullptr && !idle_.empty()) {
    queue = std::move(idle_.back());
    idle_.pop_back();
  }
  if (queue == nullptr) {
    auto made = std::make_unique<Queue>();
    CheckCuda(cuda_, cuda_.device_alloc(index_, sizeof(lv_report), &made->report));
    queue = std::move(made);
  }
  return *queue;
}

void CudaDevice::Grow(Queue& queue, size_t bytes) {
  if (bytes <= queue.workspace_bytes) return;
  queue.workspace_bytes = 0;
  if (queue.workspace != nullptr) queue.outgrown.push_back(std::exchange(queue.workspace, nullptr));
  // The last entry of `pending` is the operation to start. Earlier entries may still use the
  // smaller workspace, and freeing it would wait for them.
  if (queue.pending.size() == 1) FreeOutgrown(queue);
  CheckCuda(cuda_, cuda_.device_alloc(index_, bytes, &queue.workspace));
  queue.workspace_bytes = bytes;
}

void CudaDevice::FreeOutgrown(Queue& queue) {
  for (void* workspace : std::exchange(queue.outgrown, {})) {
    cuda_.device_free(index_, workspace);
  }
}

lv_report* CudaDevice::ReportOfLast(Queue& queue) {
  const size_t number = queue.pending.size() - 1;
  while (queue.reports.size() <= number / kReportsAtOnce) {
    void* reports = nullptr;
    CheckCuda(cuda_, cuda_.host_alloc(index_, kReportsAtOnce * sizeof(lv_report), &reports));
    queue.reports.push_back(reports);
  }
  return static_cast<lv_report*>(queue.reports[number / kReportsAtOnce]) + number % kReportsAtOnce;
}

// Copies at most kStagingBytes to where they stay until the stream is waited for.
void* CudaDevice::Stage(Queue& queue, const void* from_host, size_t bytes) {
  // Not across the end of a piece.
  const size_t room = kStagingBytes - queue.staged % kStagingBytes;
  const size_t begin = bytes > room ? queue.staged + room : queue.staged;
  while (queue.staging.size() * kStagingBytes < begin + bytes) {
    void* piece = nullptr;
    CheckCuda(cuda_, cuda_.host_alloc(index_, kStagingBytes, &piece));
    queue.staging.push_back(piece);
  }
  queue.staged = begin + bytes;
  char* staged = static_cast<char*>(queue.staging[begin / kStagingBytes]) + begin % kStagingBytes;
  std::memcpy(staged, from_host, bytes);
  return staged;
}

void CudaDevice::EnqueueUpload(void* to, const void* from_host, size_t bytes, lv_stream stream) {
  Queue& queue = QueueOf(stream);
  for (size_t done = 0; done < bytes;) {
    const size_t count = std::min(kStagingBytes, bytes - done);
    if (queue.staged + count > kMostStaged) {
      CheckCuda(cuda_, cuda_.stream_synchronize(index_, stream));
      queue.staged = 0;
    }
    const void* staged = Stage(queue, static_cast<const char*>(from_host) + done, count);
    CheckCuda(cuda_,
              cuda_.copy_to_device(index_, static_cast<char*>(to) + done, staged, count, stream));
    done += count;
  }
}

void CudaDevice::Enqueue(CudaOperation operation, lv_stream stream) {
  Queue& queue = QueueOf(stream);
  Pending& pending = queue.pending.emplace_back(Pending{std::move(operation)});
  size_t bytes = 0;
  CudaCall call{index_, static_cast<lv_report*>(queue.report), nullptr, &bytes, stream};
  CheckCuda(cuda_, pending.operation.call(cuda_, call));
  Grow(queue, bytes);
  lv_report* found = ReportOfLast(queue);
  call.workspace = queue.workspace;
  bytes = queue.workspace_bytes;
  CheckCuda(cuda_, pending.operation.call(cuda_, call));
  CheckCuda(cuda_, cuda_.copy_to_host(index_, found, queue.report, sizeof(lv_report), stream));
  pending.found = found;
}

void CudaDevice::CheckReports(const std::vector<Pending>& operations) {
  for (const Pending& pending : operations) {
    if (pending.found == nullptr) continue;
    CheckReport(*pending.found, pending.operation.shape, pending.operation.names);
  }
}

void CudaDevice::Finish(lv_stream stream) {
  std::unique_ptr<Queue> queue;
  {
    const std::lock_guard<std::mutex> lock(queues_mutex_);
    const auto found = queues_.find(stream);
    if (found != queues_.end()) {
      queue = std::move(found->second);
      queues_.erase(found);
    }
  }
  std::exception_ptr failure;
  try {
    CheckCuda(cuda_, cuda_.stream_synchronize(index_, stream));
    if (queue != nullptr) CheckReports(queue->pending);
  } catch (...) {
    failure = std::current_exception();
  }
  // Destroyed last: it may hold the last reference to memory.
  std::vector<Pending> done;
  if (queue != nullptr) {
    done = std::exchange(queue->pending, {});
    queue->staged = 0;
    FreeOutgrown(*queue);
    const std::lock_guard<std::mutex> lock(queues_mutex_);
    idle_.push_back(std::move(queue));
  }
  if (failure != nullptr) std::rethrow_exception(failure);
}

void CudaDevice::Run(CudaOperation operation) {
  const std::lock_guard<std::mutex> lock(running_);
  try {
    Enqueue(std::move(operation), stream_);
  } catch (...) {
    try {
      Finish(stream_);
    } catch (...) {  // Why it could not be started says more.
    }
    throw;
  }
  Finish(stream_);
}

DeviceMemory::DeviceMemory(std::shared_ptr<CudaDevice> device, size_t bytes)
    : device_(std::move(device)), bytes_(bytes), owned_(true) {
  CheckCuda(device_->cuda(), device_->cuda().device_alloc(device_->index(), bytes, &data_));
}

DeviceMemory::DeviceMemory(std::shared_ptr<CudaDevice> device, void* address, size_t bytes,
                           std::shared_ptr<const void> owner)
    : device_(std::move(device)),
      data_(address),
      bytes_(bytes),
      owned_(false),
      owner_(std::move(owner)) {}

DeviceMemory::~DeviceMemory() {
  if (owned_) device_->cuda().device_free(device_->index(), data_);
}

void CheckReport(const lv_report& report, const Shape& shape, const TensorNames& names) {
  if (report.not_finite != LV_NOTHING_FOUND) {
    ThrowNotFiniteAt("NaN or infinity", static_cast<size_t>(report.not_finite), shape, names);
  }
  if (report.bad_assignment != LV_NOTHING_FOUND) {
    throw std::invalid_argument("assignment[" + std::to_string(report.bad_assignment) +
                                "] is invalid: not a slot");
  }
}

}  // namespace longvlm
