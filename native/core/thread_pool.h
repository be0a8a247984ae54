// The kernels' threads: one pool per process, which exists as long as any environment uses it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/function_ref.h"

namespace longvlm {

class ThreadPool {
 public:
  // The existing pool, or a new one with LONGVLM_NUM_THREADS threads (default: all cores). Its
  // threads exit with its last owner, so that no thread outlives the addon's code. Throws
  // std::invalid_argument when LONGVLM_NUM_THREADS is not a positive integer.
  static std::shared_ptr<ThreadPool> Shared();

  // `threads` includes the caller of For.
  explicit ThreadPool(size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t threads() const { return helpers_.size() + 1; }

  // Calls body(0) … body(count - 1) on all threads, in any order, and returns when all are done.
  // After an exception no further call starts, and the first exception is rethrown. Thread safe.
  void For(size_t count, FunctionRef<void(size_t)> body);

 private:
  struct Job;

  void Help();

  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable done_;
  std::vector<Job*> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> helpers_;
};

// The threads that run an operation's blocks, and the operation's cancellation flag.
struct Workers {
  ThreadPool* pool;                    // null: on the calling thread alone
  const std::atomic<bool>* cancelled;  // null: never

  size_t threads() const { return pool == nullptr ? 1 : pool->threads(); }

  // ThreadPool::For; throws Cancelled between two blocks.
  void For(size_t count, FunctionRef<void(size_t)> body) const;
};

}  // namespace longvlm
