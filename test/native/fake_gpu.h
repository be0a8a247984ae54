// A GPU for tests whose streams do nothing until somebody waits for them: what CudaDevice does
// without waiting, and what it keeps meanwhile, shows only there. One in the process at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/cuda_device.h"

namespace longvlm {

class FakeGpu {
 public:
  FakeGpu();
  ~FakeGpu();
  FakeGpu(const FakeGpu&) = delete;
  FakeGpu& operator=(const FakeGpu&) = delete;

  const CudaFunctions& cuda() const { return cuda_; }

  // Work for a stream, behind what is there.
  void Put(lv_stream stream, std::function<void()> work);

  // How many operations there are on all streams that nobody has waited for, copies among them.
  size_t waiting() const;
  bool allocated(const void* memory) const;
  size_t allocations() const;  // that are not freed
  size_t allocated_ever() const;

  // What is told of each copy and each wait before it is asked for, "wait for stream 2" say;
  // anything but LV_OK makes it fail.
  using Watcher = std::function<lv_status(const std::string& event)>;
  void Watch(Watcher watcher) { watcher_ = std::move(watcher); }

  // What waiting for a stream gives from now on.
  void FailAtSynchronize(lv_status status) { synchronize_status_ = status; }

 private:
  static CudaFunctions Functions();
  lv_status Tell(const std::string& event, lv_stream stream);
  lv_status Copy(const char* way, void* to, const void* from, size_t bytes, lv_stream stream);
  lv_status Allocate(size_t bytes, void** pointer);
  lv_status Free(void* pointer);
  lv_status Synchronize(lv_stream stream);

  const CudaFunctions cuda_ = Functions();
  Watcher watcher_;
  mutable std::mutex mutex_;
  std::map<lv_stream, std::vector<std::function<void()>>> streams_;
  std::set<void*> memory_;
  size_t allocated_ever_ = 0;
  uintptr_t last_stream_ = 0;
  lv_status synchronize_status_ = LV_OK;
};

}  // namespace longvlm
