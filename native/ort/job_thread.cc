#include "ort/job_thread.h"

#include <map>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#endif

#include "core/batch_scheduling.h"

namespace longvlm::ort {
namespace {

struct Registry {
  std::mutex mutex;
  // Those that nobody has waited for yet.
  std::vector<std::shared_ptr<JobThread>> threads;
  std::map<std::string, std::weak_ptr<JobThread>> shared;
};

// Not destroyed at exit, when threads may still use it.
Registry& TheRegistry() {
  static auto& registry = *new Registry;
  return registry;
}

}  // namespace

std::shared_ptr<JobThread> JobThread::Acquire(const std::string& device) {
  JoinEnded();
  Registry& registry = TheRegistry();
  const std::lock_guard<std::mutex> lock(registry.mutex);
  const bool shares = device != "cpu";
  if (shares) {
    const std::shared_ptr<JobThread> shared = registry.shared[device].lock();
    if (shared != nullptr && shared->AddUser()) return shared;
  }
  auto thread = std::make_shared<JobThread>();
  try {
    thread->thread_ = std::thread([thread = thread.get()] { thread->Work(); });
  } catch (const std::system_error&) {
    throw std::runtime_error("the process may have no more threads");
  }
  registry.threads.push_back(thread);
  if (shares) registry.shared[device] = thread;
  return thread;
}

bool JobThread::AddUser() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (users_ == 0) return false;
  ++users_;
  return true;
}

bool JobThread::HasUsers() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return users_ > 0;
}

void JobThread::Leave() {
  const std::lock_guard<std::mutex> lock(mutex_);
  --users_;
  changed_.notify_one();
}

void JobThread::Add(Job job) {
  const std::lock_guard<std::mutex> lock(mutex_);
  jobs_.push_back(std::move(job));
  changed_.notify_one();
}

void JobThread::JoinEnded() {
  std::vector<std::shared_ptr<JobThread>> ended;
  {
    Registry& registry = TheRegistry();
    const std::lock_guard<std::mutex> lock(registry.mutex);
    std::erase_if(registry.threads, [&](const std::shared_ptr<JobThread>& thread) {
      if (thread->HasUsers()) return false;
      ended.push_back(thread);
      return true;
    });
  }
  for (const auto& thread : ended) thread->thread_.join();
}

void JobThread::Work() {
#if defined(__linux__)
  pthread_setname_np(pthread_self(), "longvlm-ort");
#endif
  // Inherited by the threads that ONNX Runtime starts: none of them delays the event loop.
  [[maybe_unused]] const BatchScheduling batch;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return !jobs_.empty() || users_ == 0; });
    if (jobs_.empty()) return;
    {
      const Job job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job();
    }
    lock.lock();
  }
}

}  // namespace longvlm::ort
