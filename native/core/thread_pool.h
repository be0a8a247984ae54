// Threads for the work of one process: tasks that wait for a thread, and loops whose iterations
// several threads share.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

#include "core/function_ref.h"
#include "core/task_queue.h"

namespace longvlm {

class ThreadPool {
 public:
  static constexpr size_t kMostThreads = 1024;

  // The kernels' pool, with Concurrency() threads, and one for tasks that wait most of the time:
  // for a GPU, or for llama.cpp's threads. The existing pool, or a new one. Its threads exit with
  // its last owner, so that no thread outlives the addon's code. Throws as Concurrency() does.
  static std::shared_ptr<ThreadPool> Shared();
  static std::shared_ptr<ThreadPool> Waiting();

  // The most threads of the kernels, together with the calling thread of a synchronous call: what
  // SetConcurrency() said last, else LONGVLM_NUM_THREADS, else all cores. Throws
  // std::invalid_argument when LONGVLM_NUM_THREADS is not a positive integer.
  static size_t Concurrency();
  // At most kMostThreads, from now on, in the whole process; 0 for the default. What runs may end
  // with more threads.
  static void SetConcurrency(size_t threads);

  // At most `threads`, which start when they are needed. They include the caller of For().
  explicit ThreadPool(size_t threads) : most_(threads) {}
  ~ThreadPool() { Shutdown(); }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t threads() const { return most_; }

  // Calls body(0) … body(count - 1) on all threads, in any order, and returns when all are done.
  // After an exception no further call starts, and the first exception is rethrown. Thread safe.
  void For(size_t count, FunctionRef<void(size_t)> body);

  // Runs a task on one of the threads, when it is its turn. It fails if the process may have no
  // thread. Thread safe.
  void Start(std::shared_ptr<Task> task);

  // Ends a task early. One that waits for its turn is done before this returns. May be called at
  // any time, also after the end. Thread safe.
  void Cancel(const std::shared_ptr<Task>& task);

  // Cancels the tasks of an owner, and returns when the last is done and destroyed.
  void EndTasks(const void* owner);

  // Cancels all tasks, and returns when every thread has ended. Later tasks are cancelled at once.
  void Shutdown();

 private:
  struct Loop;

  void Resize(size_t threads);
  // Starts threads until there are `count`, or the process may have no more.
  void StartThreads(size_t count);
  void Work(size_t index);
  // A loop that a thread could help with; null if there is none.
  Loop* LoopToHelp() const;
  bool CanStartTask() const;
  void Help(Loop& loop, std::unique_lock<std::mutex>& lock);
  void RunTask(std::unique_lock<std::mutex>& lock);
  void CancelRunning(const void* owner);

  std::atomic<size_t> most_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable done_;
  // The rest is guarded by the mutex.
  std::vector<Loop*> loops_;
  TaskQueue queue_;
  std::unordered_set<std::shared_ptr<Task>> running_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// The threads that run an operation's blocks, and the operation's cancellation flag.
struct Workers {
  ThreadPool* pool;                    // null: on the calling thread alone
  const std::atomic<bool>* cancelled;  // null: never
  // Stays the same during an operation, which divides its work and memory by it.
  size_t count = pool == nullptr ? 1 : pool->threads();

  size_t threads() const { return count; }

  // ThreadPool::For; throws Cancelled between two blocks.
  void For(size_t count, FunctionRef<void(size_t)> body) const;
};

}  // namespace longvlm
