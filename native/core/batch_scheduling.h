// Tells the scheduler that a thread computes for a long time, so that the event loop, which wakes
// often and briefly, need not wait for it.
#pragma once

#if defined(__linux__)
#include <sched.h>
#endif

namespace longvlm {

// During the lifetime of this object, the calling thread gets no wake-up preference. No effect on
// threads that already have another scheduling policy, nor outside Linux.
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
