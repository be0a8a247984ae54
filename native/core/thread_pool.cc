#include "core/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#if defined(__linux__)
#include <pthread.h>
#endif

#include "core/batch_scheduling.h"
#include "core/error.h"

namespace longvlm {
namespace {

// Tasks that run at once. With more, each would have fewer threads, and memory of its own.
constexpr size_t kTasksAtOnce = 4;
// How long a thread helps with one loop while a task waits for a thread.
constexpr std::chrono::milliseconds kTurn{20};

// What SetConcurrency() said; 0 for the default.
std::atomic<size_t> chosen_threads{0};

size_t DefaultThreads() {
  const char* text = std::getenv("LONGVLM_NUM_THREADS");
  if (text == nullptr || *text == '\0') return std::max(1u, std::thread::hardware_concurrency());
  constexpr long kMost = ThreadPool::kMostThreads;
  char* end = nullptr;
  const long count = std::strtol(text, &end, 10);
  if (*end != '\0' || count < 1 || count > kMost) {
    throw std::invalid_argument(
        "Expected integer between 1 and 1024 for LONGVLM_NUM_THREADS but received '" +
        std::string(text) + "'");
  }
  return static_cast<size_t>(count);
}

// Not destroyed at exit, when threads may still use them.
struct Pools {
  std::mutex mutex;
  std::weak_ptr<ThreadPool> computing;
  std::weak_ptr<ThreadPool> waiting;
};
Pools& ThePools() {
  static auto& pools = *new Pools;
  return pools;
}

// For exits that JavaScript is not told of: no thread may work when the C library and static
// objects end. On Windows no other thread is alive by then.
void ShutDownAtExit() {
#if !defined(_WIN32)
  static const int registered = std::atexit([] {
    Pools& pools = ThePools();
    std::unique_lock<std::mutex> lock(pools.mutex);
    const auto all = {pools.computing.lock(), pools.waiting.lock()};
    lock.unlock();
    for (const auto& pool : all)
      if (pool != nullptr) pool->Shutdown();
  });
  (void)registered;
#endif
}

// The pool that `held` knows, or a new one.
std::shared_ptr<ThreadPool> Get(std::weak_ptr<ThreadPool> Pools::*held, size_t threads) {
  Pools& pools = ThePools();
  const std::lock_guard<std::mutex> lock(pools.mutex);
  std::shared_ptr<ThreadPool> pool = (pools.*held).lock();
  if (pool == nullptr) {
    pool = std::make_shared<ThreadPool>(threads);
    pools.*held = pool;
    ShutDownAtExit();
  }
  return pool;
}

}  // namespace

// Guarded by the pool's mutex, but for `next`.
struct ThreadPool::Loop {
  const size_t count;
  const FunctionRef<void(size_t)> body;
  std::atomic<size_t> next{0};
  size_t helpers = 0;
  std::exception_ptr error = {};

  bool IsOver() const { return next.load(std::memory_order_relaxed) >= count; }

  // Runs calls until none are left, or `leaves()` says so between two. Returns the exception of one
  // of them, if any.
  template <typename Leaves>
  std::exception_ptr Run(Leaves leaves) {
    try {
      while (!leaves()) {
        const size_t i = next.fetch_add(1, std::memory_order_relaxed);
        if (i >= count) break;
        body(i);
      }
      return {};
    } catch (...) {
      next.store(count, std::memory_order_relaxed);
      return std::current_exception();
    }
  }
};

size_t ThreadPool::Concurrency() {
  const size_t chosen = chosen_threads;
  return chosen != 0 ? chosen : DefaultThreads();
}

void ThreadPool::SetConcurrency(size_t threads) {
  chosen_threads = threads;
  Pools& pools = ThePools();
  std::unique_lock<std::mutex> lock(pools.mutex);
  const std::shared_ptr<ThreadPool> pool = pools.computing.lock();
  lock.unlock();
  if (pool != nullptr) pool->Resize(Concurrency());
}

std::shared_ptr<ThreadPool> ThreadPool::Shared() { return Get(&Pools::computing, Concurrency()); }

std::shared_ptr<ThreadPool> ThreadPool::Waiting() { return Get(&Pools::waiting, kTasksAtOnce); }

void ThreadPool::Resize(size_t threads) {
  const std::lock_guard<std::mutex> lock(mutex_);
  most_ = threads;
  if (queue_.size() > 0) StartThreads(most_);
  work_.notify_all();
}

void ThreadPool::StartThreads(size_t count) {
  while (!stopping_ && threads_.size() < count) {
    try {
      threads_.emplace_back([this, index = threads_.size()] { Work(index); });
    } catch (const std::system_error&) {
      return;  // the process may have no more threads: fewer do the same work
    }
  }
}

ThreadPool::Loop* ThreadPool::LoopToHelp() const {
  const auto found = std::ranges::find_if(
      loops_, [this](const Loop* loop) { return loop->helpers + 1 < most_.load(); });
  return found == loops_.end() ? nullptr : *found;
}

bool ThreadPool::CanStartTask() const {
  return queue_.size() > 0 && running_.size() < std::min(most_.load(), kTasksAtOnce);
}

void ThreadPool::Work(size_t index) {
#if defined(__linux__)
  pthread_setname_np(pthread_self(), "longvlm");
#endif
  // Otherwise this thread would preempt the JavaScript thread, which woke it, on its core.
  [[maybe_unused]] const BatchScheduling batch;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    // Threads above the number that may work stay, asleep.
    work_.wait(lock, [&] {
      return stopping_ || (index < most_ && (LoopToHelp() != nullptr || CanStartTask()));
    });
    if (Loop* loop = LoopToHelp(); loop != nullptr) {
      // What has begun comes before what waits.
      Help(*loop, lock);
    } else if (CanStartTask()) {
      RunTask(lock);
    } else if (stopping_) {
      return;
    }
  }
}

void ThreadPool::Help(Loop& loop, std::unique_lock<std::mutex>& lock) {
  ++loop.helpers;
  lock.unlock();
  auto looked = std::chrono::steady_clock::now();
  const std::exception_ptr error = loop.Run([&] {
    const auto now = std::chrono::steady_clock::now();
    if (now - looked < kTurn) return false;
    looked = now;
    const std::lock_guard<std::mutex> guard(mutex_);
    return CanStartTask();
  });
  lock.lock();
  // All calls have been started; the caller may have noticed this first.
  if (loop.IsOver()) std::erase(loops_, &loop);
  if (error && !loop.error) loop.error = error;
  if (--loop.helpers == 0) done_.notify_all();
  // What has begun comes before what waits, but for a loop that takes long.
  if (CanStartTask()) RunTask(lock);
}

void ThreadPool::RunTask(std::unique_lock<std::mutex>& lock) {
  const std::shared_ptr<Task> task = queue_.Next();
  running_.insert(task);
  lock.unlock();
  std::exception_ptr error;
  try {
    if (task->cancelled) throw Cancelled();
    task->run(task->cancelled);
  } catch (...) {
    error = std::current_exception();
  }
  task->run = {};
  task->done(std::move(error));
  task->done = {};
  lock.lock();
  running_.erase(task);
  done_.notify_all();
  // Some other thread may start a task in its place.
  if (queue_.size() > 0) work_.notify_all();
}

void ThreadPool::For(size_t count, FunctionRef<void(size_t)> body) {
  if (count <= 1 || most_ <= 1) {
    for (size_t i = 0; i < count; ++i) body(i);
    return;
  }
  Loop loop{count, body};
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const size_t useful = std::min<size_t>(most_, running_.size() + count);
    // The caller is one of them, also where it is no thread of the pool.
    StartThreads(running_.empty() ? useful - 1 : useful);
    loops_.push_back(&loop);
  }
  work_.notify_all();
  const std::exception_ptr error = loop.Run([] { return false; });
  std::unique_lock<std::mutex> lock(mutex_);
  std::erase(loops_, &loop);
  done_.wait(lock, [&loop] { return loop.helpers == 0; });
  if (error) std::rethrow_exception(error);
  if (loop.error) std::rethrow_exception(loop.error);
}

void ThreadPool::Start(std::shared_ptr<Task> task) {
  std::exception_ptr failure = std::make_exception_ptr(Cancelled());
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    StartThreads(std::min<size_t>(most_, running_.size() + queue_.size() + 1));
    if (!threads_.empty()) {
      queue_.Add(std::move(task));
      work_.notify_all();
      return;
    }
    if (!stopping_)
      failure = std::make_exception_ptr(std::runtime_error("the process may have no more threads"));
  }
  task->done(std::move(failure));
}

void ThreadPool::Cancel(const std::shared_ptr<Task>& task) {
  task->cancelled = true;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!queue_.Remove(task)) return;
  }
  task->run = {};
  task->done(std::make_exception_ptr(Cancelled()));
}

void ThreadPool::CancelRunning(const void* owner) {
  for (const std::shared_ptr<Task>& task : running_)
    if (owner == nullptr || task->owner == owner) task->cancelled = true;
}

void ThreadPool::EndTasks(const void* owner) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto waiting = queue_.RemoveAll(owner);
  CancelRunning(owner);
  done_.wait(lock, [&] {
    return std::ranges::none_of(running_, [&](const auto& task) { return task->owner == owner; });
  });
  lock.unlock();
  for (const std::shared_ptr<Task>& task : waiting) {
    task->run = {};
    task->done(std::make_exception_ptr(Cancelled()));
  }
}

void ThreadPool::Shutdown() {
  std::deque<std::shared_ptr<Task>> waiting;
  std::vector<std::thread> threads;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    waiting = queue_.RemoveAll(nullptr);
    CancelRunning(nullptr);
    threads.swap(threads_);
  }
  work_.notify_all();
  for (const std::shared_ptr<Task>& task : waiting) {
    task->run = {};
    task->done(std::make_exception_ptr(Cancelled()));
  }
  for (std::thread& thread : threads) thread.join();
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
