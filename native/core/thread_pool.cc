#include "core/thread_pool.h"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>

#include "core/batch_scheduling.h"
#include "core/error.h"

namespace longvlm {
namespace {

size_t ThreadCount() {
  const char* text = std::getenv("LONGVLM_NUM_THREADS");
  if (text == nullptr || *text == '\0') return std::max(1u, std::thread::hardware_concurrency());
  constexpr long kMost = 1024;
  char* end = nullptr;
  const long count = std::strtol(text, &end, 10);
  if (*end != '\0' || count < 1 || count > kMost) {
    throw std::invalid_argument(
        "Expected integer between 1 and 1024 for LONGVLM_NUM_THREADS but received '" +
        std::string(text) + "'");
  }
  return static_cast<size_t>(count);
}

}  // namespace

struct ThreadPool::Job {
  const size_t count;
  const FunctionRef<void(size_t)> body;
  std::atomic<size_t> next{0};
  size_t helpers = 0;  // guarded by the pool's mutex, as is `error`
  std::exception_ptr error = {};

  // Runs calls until none are left. Returns the exception of one of them, if any.
  std::exception_ptr Run() {
    try {
      for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) body(i);
      return {};
    } catch (...) {
      next.store(count, std::memory_order_relaxed);
      return std::current_exception();
    }
  }
};

std::shared_ptr<ThreadPool> ThreadPool::Shared() {
  static std::mutex mutex;
  static std::weak_ptr<ThreadPool> shared;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<ThreadPool> pool = shared.lock();
  if (pool == nullptr) {
    pool = std::make_shared<ThreadPool>(ThreadCount());
    shared = pool;
  }
  return pool;
}

ThreadPool::ThreadPool(size_t threads) {
  for (size_t i = 1; i < threads; ++i) {
    try {
      helpers_.emplace_back([this] { Help(); });
    } catch (const std::system_error&) {
      break;  // the process may have no more threads: fewer do the same work
    }
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void ThreadPool::Help() {
  [[maybe_unused]] const BatchScheduling batch;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    Job& job = *jobs_.front();
    ++job.helpers;
    lock.unlock();
    const std::exception_ptr error = job.Run();
    lock.lock();
    // All calls have been started; the caller may have noticed this first.
    std::erase(jobs_, &job);
    if (error && !job.error) job.error = error;
    if (--job.helpers == 0) done_.notify_all();
  }
}

void ThreadPool::For(size_t count, FunctionRef<void(size_t)> body) {
  if (count <= 1 || helpers_.empty()) {
    for (size_t i = 0; i < count; ++i) body(i);
    return;
  }
  Job job{count, body};
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    jobs_.push_back(&job);
  }
  work_.notify_all();
  const std::exception_ptr error = job.Run();
  std::unique_lock<std::mutex> lock(mutex_);
  std::erase(jobs_, &job);
  done_.wait(lock, [&job] { return job.helpers == 0; });
  if (error) std::rethrow_exception(error);
  if (job.error) std::rethrow_exception(job.error);
}

void Workers::For(size_t count, FunctionRef<void(size_t)> body) const {
  const auto block = [this, &body](size_t i) {
    if (cancelled != nullptr && cancelled->load(std::memory_order_relaxed)) throw Cancelled();
    body(i);
  };
  if (pool != nullptr) {
    pool->For(count, block);
  } else {
    for (size_t i = 0; i < count; ++i) block(i);
  }
}

}  // namespace longvlm
