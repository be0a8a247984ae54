// Tasks that wait for a thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <memory>

namespace longvlm {

struct Task {
  // Throws Cancelled soon after `cancelled` is set.
  std::function<void(const std::atomic<bool>& cancelled)> run;
  // Called once, with what `run` threw, or null. Must not throw.
  std::function<void(std::exception_ptr)> done;
  // Whoever started it: those with tasks that wait take turns.
  const void* owner;
  std::atomic<bool> cancelled{false};
};

// First come, first served for each owner. Not thread safe.
class TaskQueue {
 public:
  size_t size() const { return size_; }

  void Add(std::shared_ptr<Task> task);
  // The next task; null when there is none.
  std::shared_ptr<Task> Next();
  // Returns whether the task was waiting.
  bool Remove(const std::shared_ptr<Task>& task);
  // All tasks of an owner, or of everybody if it is null.
  std::deque<std::shared_ptr<Task>> RemoveAll(const void* owner);

 private:
  struct Waiting {
    const void* owner;
    std::deque<std::shared_ptr<Task>> tasks;  // never empty
  };

  // The owner whose turn it is comes first.
  std::list<Waiting> owners_;
  size_t size_ = 0;
};

}  // namespace longvlm
