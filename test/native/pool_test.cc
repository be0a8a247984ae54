// Tasks on the threads of a pool: whose turn it is, cancellation, and the end.
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "core/thread_pool.h"
#include "tests.h"

namespace longvlm {
namespace {

const int kOwners[2] = {};

std::shared_ptr<Task> MakeTask(const void* owner, std::function<void(const std::atomic<bool>&)> run,
                               std::function<void(std::exception_ptr)> done) {
  auto task = std::make_shared<Task>();
  task->run = std::move(run);
  task->done = std::move(done);
  task->owner = owner;
  return task;
}

// What a task ended with.
std::string Outcome(const std::exception_ptr& failure) {
  if (failure == nullptr) return "done";
  try {
    std::rethrow_exception(failure);
  } catch (const Cancelled&) {
    return "cancelled";
  } catch (const std::exception& error) {
    return error.what();
  }
}

// A task whose outcome is awaited.
struct Awaited {
  std::shared_ptr<std::promise<std::string>> outcome =
      std::make_shared<std::promise<std::string>>();
  std::shared_ptr<Task> task;

  Awaited(const void* owner, std::function<void(const std::atomic<bool>&)> run)
      : task(MakeTask(owner, std::move(run), [outcome = outcome](std::exception_ptr failure) {
          outcome->set_value(Outcome(failure));
        })) {}
  std::string Get() const { return outcome->get_future().get(); }
};

// Runs until it is cancelled.
void Forever(const std::atomic<bool>& cancelled) {
  while (!cancelled) std::this_thread::yield();
  throw Cancelled();
}

void TestTurns() {
  ThreadPool pool(1);
  std::promise<void> begun;
  std::promise<void> go;
  Awaited first(&kOwners[0], [&](const std::atomic<bool>&) {
    begun.set_value();
    go.get_future().wait();
  });
  pool.Start(first.task);
  begun.get_future().wait();
  std::string order;
  std::vector<Awaited> others;
  const auto add = [&](int owner, char name) {
    others.emplace_back(&kOwners[owner],
                        [&order, name](const std::atomic<bool>&) { order += name; });
    pool.Start(others.back().task);
  };
  for (const char name : {'a', 'b', 'c', 'd'}) add(0, name);
  for (const char name : {'X', 'Y'}) add(1, name);
  // One that waits is done on this thread, before it would have had its turn.
  pool.Cancel(others[2].task);
  CHECK(others[2].Get() == "cancelled", "a task that waited");
  go.set_value();
  CHECK(first.Get() == "done", "the first task");
  for (const size_t i : {0, 1, 3, 4, 5}) CHECK(others[i].Get() == "done", "task %zu", i);
  CHECK(order == "aXbYd", "in the order %s", order.c_str());
}

void TestEnds() {
  ThreadPool pool(2);
  Awaited kept(&kOwners[1], Forever);
  Awaited running(&kOwners[0], Forever);
  Awaited waiting(&kOwners[0], Forever);
  Awaited failing(&kOwners[0], [](const std::atomic<bool>&) { throw std::runtime_error("no"); });
  pool.Start(failing.task);
  CHECK(failing.Get() == "no", "a task that fails");
  for (const Awaited* each : {&kept, &running, &waiting}) pool.Start(each->task);
  pool.EndTasks(&kOwners[0]);
  for (const Awaited* each : {&running, &waiting}) {
    auto outcome = each->outcome->get_future();
    CHECK(outcome.wait_for(std::chrono::seconds(0)) == std::future_status::ready, "not done");
    CHECK(outcome.get() == "cancelled", "a task of an owner who ended");
  }
  CHECK(!kept.task->cancelled, "another owner's task was cancelled");
  pool.Shutdown();
  CHECK(kept.Get() == "cancelled", "a task that was running");
  Awaited late(&kOwners[0], Forever);
  pool.Start(late.task);
  CHECK(late.Get() == "cancelled", "a task after the end");
  size_t calls = 0;
  pool.For(3, [&](size_t) { ++calls; });
  CHECK(calls == 3, "%zu calls after the end", calls);
}

// Tasks that share their loops with idle threads, from several callers.
void TestLoops() {
  ThreadPool pool(3);
  std::atomic<size_t> sum{0};
  std::vector<Awaited> tasks;
  for (size_t i = 0; i < 40; ++i) {
    tasks.emplace_back(&kOwners[i % 2], [&](const std::atomic<bool>& cancelled) {
      Workers{&pool, &cancelled}.For(50, [&](size_t j) { sum += j; });
    });
  }
  std::thread starting([&] {
    for (size_t i = 0; i < 20; ++i) pool.Start(tasks[i].task);
  });
  for (size_t i = 20; i < 40; ++i) pool.Start(tasks[i].task);
  pool.For(50, [&](size_t j) { sum += j; });
  starting.join();
  for (const Awaited& task : tasks) CHECK(task.Get() == "done", "a task with a loop");
  CHECK(sum == 41 * 50 * 49 / 2, "%zu", sum.load());
}

// A loop that takes long leaves a thread to a task that comes later.
void TestLongLoops() {
  constexpr int kCalls = 20000;
  ThreadPool pool(2);
  std::atomic<bool> has_run{false};
  std::atomic<int> inside{0}, after{0};
  Awaited first(&kOwners[0], [&](const std::atomic<bool>& cancelled) {
    Workers{&pool, &cancelled}.For(kCalls, [&](size_t) {
      ++inside;
      if (has_run) {
        ++after;
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      --inside;
    });
  });
  pool.Start(first.task);
  while (inside < 2) std::this_thread::yield();
  Awaited second(&kOwners[1], [&](const std::atomic<bool>&) { has_run = true; });
  pool.Start(second.task);
  CHECK(second.Get() == "done", "the task that came later");
  CHECK(first.Get() == "done", "the task with the loop");
  CHECK(after > kCalls / 4, "%d of %d calls after the task that came later", after.load(), kCalls);
}

}  // namespace

void TestPool() {
  TestLongLoops();
  TestTurns();
  TestEnds();
  TestLoops();
}

}  // namespace longvlm
