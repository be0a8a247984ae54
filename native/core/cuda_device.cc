#include "core/cuda_device.h"

#include <algorithm>
#include <cstring>
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
    for (lv_stream& stream : streams_) CheckCuda(cuda_, cuda_.stream_create(index_, &stream));
    for (void*& half : staging_) CheckCuda(cuda_, cuda_.host_alloc(index_, kStagingBytes, &half));
    CheckCuda(cuda_, cuda_.device_alloc(index_, sizeof(lv_report), &report_));
  } catch (...) {
    FreeAll();
    throw;
  }
}

CudaDevice::~CudaDevice() { FreeAll(); }

void CudaDevice::FreeAll() {
  for (lv_stream stream : streams_) cuda_.stream_destroy(index_, stream);
  for (void* half : staging_) cuda_.host_free(index_, half);
  cuda_.device_free(index_, report_);
  cuda_.device_free(index_, workspace_);
}

void CudaDevice::Copy(size_t bytes, const std::atomic<bool>& cancelled, bool up, char* device,
                      char* host) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto wait = [&](size_t half) {
    CheckCuda(cuda_, cuda_.stream_synchronize(index_, streams_[half]));
  };
  // Where each half of the staging memory stands: what it is bringing down.
  struct Pending {
    char* to = nullptr;
    size_t bytes = 0;
  } pending[2];
  const auto finish = [&](size_t half) {
    wait(half);
    if (pending[half].to != nullptr) {
      std::memcpy(pending[half].to, staging_[half], pending[half].bytes);
    }
    pending[half] = {};
  };
  size_t half = 0;
  for (size_t done = 0; done < bytes; half ^= 1) {
    const size_t count = std::min(kStagingBytes, bytes - done);
    finish(half);
    if (cancelled.load(std::memory_order_relaxed)) {
      wait(half ^ 1);
      throw Cancelled();
    }
    if (up) {
      std::memcpy(staging_[half], host + done, count);
      CheckCuda(cuda_,
                cuda_.copy_to_device(index_, device + done, staging_[half], count, streams_[half]));
    } else {
      CheckCuda(cuda_,
                cuda_.copy_to_host(index_, staging_[half], device + done, count, streams_[half]));
      pending[half] = {host + done, count};
    }
    done += count;
  }
  finish(half);
  finish(half ^ 1);
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

lv_report CudaDevice::Run(Operation operation) {
  const std::lock_guard<std::mutex> lock(mutex_);
  size_t needed = 0;
  CheckCuda(cuda_, operation(nullptr, &needed, streams_[0]));
  if (needed > workspace_bytes_) {
    CheckCuda(cuda_, cuda_.device_free(index_, std::exchange(workspace_, nullptr)));
    workspace_bytes_ = 0;
    CheckCuda(cuda_, cuda_.device_alloc(index_, needed, &workspace_));
    workspace_bytes_ = needed;
  }
  size_t given = workspace_bytes_;
  CheckCuda(cuda_, operation(workspace_, &given, streams_[0]));
  CheckCuda(cuda_,
            cuda_.copy_to_host(index_, staging_[0], report_, sizeof(lv_report), streams_[0]));
  CheckCuda(cuda_, cuda_.stream_synchronize(index_, streams_[0]));
  lv_report found;
  std::memcpy(&found, staging_[0], sizeof(found));
  return found;
}

DeviceMemory::DeviceMemory(std::shared_ptr<CudaDevice> device, size_t bytes)
    : device_(std::move(device)), bytes_(bytes) {
  CheckCuda(device_->cuda(), device_->cuda().device_alloc(device_->index(), bytes, &data_));
}

DeviceMemory::~DeviceMemory() { device_->cuda().device_free(device_->index(), data_); }

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
