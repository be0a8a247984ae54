// Ends work that is under way on another thread.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <utility>

#include "core/error.h"

namespace longvlm::ort {

// Thread safe.
class Cancellation {
 public:
  // Ends the current During(), and makes every later one throw.
  void Cancel() {
    const std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
    if (end_) end_();
  }

  bool cancelled() const { return cancelled_; }

  // The same, for work that looks at a flag.
  const std::atomic<bool>& flag() const { return cancelled_; }

  // Calls body(), and `end` if Cancel() is called meanwhile. Throws Cancelled instead of whatever
  // body() throws after that.
  template <typename Body>
  void During(std::function<void()> end, Body&& body) {
    Set(std::move(end));
    try {
      std::forward<Body>(body)();
    } catch (...) {
      if (Unset()) throw Cancelled();
      throw;
    }
    Unset();
  }

 private:
  void Set(std::function<void()> end) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (cancelled_) throw Cancelled();
    end_ = std::move(end);
  }

  bool Unset() {
    const std::lock_guard<std::mutex> lock(mutex_);
    end_ = nullptr;
    return cancelled_;
  }

  std::mutex mutex_;
  std::atomic<bool> cancelled_{false};
  std::function<void()> end_;
};

}  // namespace longvlm::ort
