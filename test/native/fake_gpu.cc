#include "fake_gpu.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#include "check.h"

namespace longvlm {
namespace {

FakeGpu* gpu = nullptr;

}  // namespace

FakeGpu::FakeGpu() {
  CHECK(gpu == nullptr, "two at a time");
  gpu = this;
}

FakeGpu::~FakeGpu() {
  CHECK(memory_.empty(), "%zu allocations were not freed", memory_.size());
  CHECK(streams_.empty(), "%zu streams were not destroyed", streams_.size());
  gpu = nullptr;
}

CudaFunctions FakeGpu::Functions() {
  CudaFunctions cuda;
  cuda.last_error = [] { return "the fake failed"; };
  cuda.stream_create = [](int32_t, lv_stream* stream) -> lv_status {
    const std::lock_guard<std::mutex> lock(gpu->mutex_);
    *stream = reinterpret_cast<lv_stream>(++gpu->last_stream_);
    gpu->streams_[*stream] = {};
    return LV_OK;
  };
  cuda.stream_destroy = [](int32_t, lv_stream stream) -> lv_status {
    const std::lock_guard<std::mutex> lock(gpu->mutex_);
    gpu->streams_.erase(stream);
    return LV_OK;
  };
  cuda.stream_synchronize = [](int32_t, lv_stream stream) { return gpu->Synchronize(stream); };
  cuda.device_alloc = [](int32_t, size_t bytes, void** pointer) {
    return gpu->Allocate(bytes, pointer);
  };
  cuda.device_free = [](int32_t, void* pointer) { return gpu->Free(pointer); };
  cuda.host_alloc = cuda.device_alloc;
  cuda.host_free = cuda.device_free;
  cuda.copy_to_host = [](int32_t, void* to, const void* from, size_t bytes, lv_stream stream) {
    return gpu->Copy("down", to, from, bytes, stream);
  };
  cuda.copy_to_device = [](int32_t, void* to, const void* from, size_t bytes, lv_stream stream) {
    return gpu->Copy("up", to, from, bytes, stream);
  };
  return cuda;
}

lv_status FakeGpu::Tell(const std::string& event, lv_stream stream) {
  if (!watcher_) return LV_OK;
  return watcher_(event + " stream " + std::to_string(reinterpret_cast<uintptr_t>(stream)));
}

lv_status FakeGpu::Copy(const char* way, void* to, const void* from, size_t bytes,
                        lv_stream stream) {
  const lv_status told = Tell(way + std::string(" ") + std::to_string(bytes) + " on", stream);
  if (told != LV_OK) return told;
  Put(stream, [=] { std::memcpy(to, from, bytes); });
  return LV_OK;
}

void FakeGpu::Put(lv_stream stream, std::function<void()> work) {
  const std::lock_guard<std::mutex> lock(mutex_);
  CHECK(streams_.contains(stream), "there is no such stream");
  streams_[stream].push_back(std::move(work));
}

lv_status FakeGpu::Synchronize(lv_stream stream) {
  // One that fails has waited all the same.
  const lv_status told = Tell("wait for", stream);
  std::vector<std::function<void()>> todo;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    todo = std::exchange(streams_[stream], {});
  }
  for (const std::function<void()>& work : todo) work();
  return told != LV_OK ? told : synchronize_status_;
}

lv_status FakeGpu::Allocate(size_t bytes, void** pointer) {
  const std::lock_guard<std::mutex> lock(mutex_);
  *pointer = std::malloc(bytes);
  memory_.insert(*pointer);
  ++allocated_ever_;
  return LV_OK;
}

lv_status FakeGpu::Free(void* pointer) {
  if (pointer == nullptr) return LV_OK;
  const std::lock_guard<std::mutex> lock(mutex_);
  CHECK(memory_.erase(pointer) == 1, "freed what was not allocated");
  std::free(pointer);
  return LV_OK;
}

size_t FakeGpu::waiting() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  size_t count = 0;
  for (const auto& [stream, work] : streams_) count += work.size();
  return count;
}

bool FakeGpu::allocated(const void* memory) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return memory_.contains(const_cast<void*>(memory));
}

size_t FakeGpu::allocations() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return memory_.size();
}

size_t FakeGpu::allocated_ever() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return allocated_ever_;
}

}  // namespace longvlm
