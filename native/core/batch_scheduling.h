// Tells the scheduler that a thread computes for long: the event loop, which wakes often and
// briefly, then need not wait for it.
#pragma once

#if defined(__linux__)
#include <sched.h>
#endif

namespace longvlm {

// While it lives, the calling thread is not preferred when it wakes up. It has no effect on a
// thread that was given a policy of its own, nor outside Linux.
class BatchScheduling {
 public:
#if defined(__linux__)
  BatchScheduling() : set_(sched_getscheduler(0) == SCHED_OTHER && Set(SCHED_BATCH)) {}
  ~BatchScheduling() {
    if (set_) Set(SCHED_OTHER);
  }

 private:
  static bool Set(int policy) {
    const sched_param priority{};
    return sched_setscheduler(0, policy, &priority) == 0;
  }

  const bool set_;
#else
  BatchScheduling() = default;
#endif

 public:
  BatchScheduling(const BatchScheduling&) = delete;
  BatchScheduling& operator=(const BatchScheduling&) = delete;
};

}  // namespace longvlm
