// A thread that does jobs in order.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace longvlm::ort {

class JobThread {
 public:
  using Job = std::function<void()>;

  // A thread for `device`, for one more user: a GPU's users share one, since CUDA's libraries keep
  // state for each thread; on the CPU everyone gets their own. Throws std::runtime_error when the
  // process may have no more threads.
  static std::shared_ptr<JobThread> Acquire(const std::string& device);

  // Ends one use, after which the user adds no jobs. The thread ends with its last use.
  void Leave();

  // Jobs must not throw.
  void Add(Job job);

  // Waits until the threads without users, which have little left to do, have ended.
  static void JoinEnded();

  JobThread() = default;
  JobThread(const JobThread&) = delete;
  JobThread& operator=(const JobThread&) = delete;

 private:
  // Adds a use, unless the thread has none left and is ending.
  bool AddUser();
  bool HasUsers();
  void Work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  size_t users_ = 1;
  std::thread thread_;
};

}  // namespace longvlm::ort
