// The threads that the kernels share: one pool in the process, alive while any environment uses it.
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
  // The pool in use, or a new one with LONGVLM_NUM_THREADS threads, all the machine's cores by
  // default. It ends with its last owner, so that no thread outlives the addon's code. Throws
  // std::invalid_argument when LONGVLM_NUM_THREADS is not a positive integer.
  static std::shared_ptr<ThreadPool> Shared();

  // The caller of For is one of the `threads`.
  explicit ThreadPool(size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t threads() const { return helpers_.size() + 1; }

  // Calls body(0) … body(count - 1) on all threads, in any order, and returns when all are done.
  // After an exception no further call starts, and the first exception is rethrown. Any number of
  // threads may call it at once.
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

// Where an operation runs its blocks, and how it hears that it is no longer wanted.
struct Workers {
  ThreadPool* pool;                    // null: on the calling thread alone
  const std::atomic<bool>* cancelled;  // null: never

  size_t threads() const { return pool == nullptr ? 1 : pool->threads(); }

  // ThreadPool::For; throws Cancelled between two blocks.
  void For(size_t count, FunctionRef<void(size_t)> body) const;
};

}  // namespace longvlm
