// The jobs of sessions on their threads: order, cancellation, release, shutdown.
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "ort/session_runner.h"
#include "ort_stub.h"
#include "tests.h"

namespace longvlm {
namespace {

using ort::SessionRunner;
using Runner = std::shared_ptr<SessionRunner>;
using Signal = std::shared_ptr<ort::Cancellation>;

constexpr const char* kDisposed = "ERR_LONGVLM_DISPOSED: The session was released";
constexpr const char* kNotLoaded = "ERR_LONGVLM_INFERENCE: The graph was not loaded";

std::string Describe(const std::exception_ptr& failure) {
  if (failure == nullptr) return "done";
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return error.code() + std::string(": ") + error.what();
  } catch (const Cancelled&) {
    return "cancelled";
  }
}

// How a job ended, which is told exactly once.
class Outcome {
 public:
  Outcome() = default;
  ~Outcome() { CHECK(state_->calls == 1, "`done` was called %d times", state_->calls); }
  Outcome(const Outcome&) = delete;
  Outcome& operator=(const Outcome&) = delete;

  // `meanwhile` is called before others hear of it.
  SessionRunner::Done done(std::function<void()> meanwhile = [] {}) {
    return [state = state_, meanwhile = std::move(meanwhile)](std::exception_ptr failure) {
      meanwhile();
      const std::lock_guard<std::mutex> lock(state->mutex);
      ++state->calls;
      CHECK(state->calls == 1, "`done` was called again");
      state->text = Describe(failure);
      state->thread = std::this_thread::get_id();
      state->called.notify_all();
    };
  }

  std::string Wait() const {
    std::unique_lock<std::mutex> lock(state_->mutex);
    const bool called = state_->called.wait_for(lock, std::chrono::minutes(1),
                                                [this] { return state_->calls > 0; });
    CHECK(called, "`done` was not called");
    return state_->text;
  }

  bool told() const {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    return state_->calls > 0;
  }

  std::thread::id thread() const { return Wait(), state_->thread; }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable called;
    int calls = 0;
    std::string text;
    std::thread::id thread;
  };
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

#define CHECK_OUTCOME(outcome, expected) \
  CHECK((outcome).Wait() == (expected), "'%s'", (outcome).Wait().c_str())

// Threads of the process; 0 where that is not known.
size_t CountThreads() {
  std::error_code error;
  size_t count = 0;
  for (const auto& each : std::filesystem::directory_iterator("/proc/self/task", error)) {
    (void)each;
    ++count;
  }
  return count;
}

// A library whose sessions and threads are gone in the end.
struct Setup {
  const size_t threads = CountThreads();
  OrtStub stub;
  const ort::Library library{stub.exports(), "stub"};

  ~Setup() {
    ort::JobThread::JoinEnded();
    CHECK(stub.live().empty(), "not released: %s", stub.live().c_str());
    // The system lists a thread a moment longer than it can be joined.
    for (int tries = 0; CountThreads() != threads; ++tries) {
      CHECK(tries < 10'000, "%zu threads instead of %zu", CountThreads(), threads);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  Runner Make(const std::string& provider = "cpu") {
    return SessionRunner::Make(library, provider);
  }

  Signal Load(const Runner& runner, const SessionRunner::Done& done,
              const std::string& provider = "cpu") {
    const auto signal = std::make_shared<ort::Cancellation>();
    runner->Load({std::byte{'m'}}, {provider, 0, {}, {}, 1}, signal, done);
    return signal;
  }

  Runner Loaded(const std::string& provider = "cpu") {
    const Runner runner = Make(provider);
    Outcome load;
    Load(runner, load.done(), provider);
    CHECK_OUTCOME(load, "done");
    return runner;
  }

  // Four rows in micro-batches of two, in memory that the run keeps.
  Signal Run(
      const Runner& runner, const SessionRunner::Done& done,
      const std::shared_ptr<std::vector<float>>& memory = std::make_shared<std::vector<float>>(4)) {
    const auto signal = std::make_shared<ort::Cancellation>();
    runner->Run({{{"scale", ort::kFloat, {4}, memory->data(), 4, {}, memory}},
                 {{"patches", ort::kFloat, {4}, memory->data(), 4, {}, memory}},
                 4,
                 2},
                signal, done);
    return signal;
  }

  static void Release(Runner& runner) {
    Outcome released;
    runner->Release(released.done());
    CHECK_OUTCOME(released, "done");
    runner.reset();
  }
};

void TestQueue() {
  Setup setup;
  Runner runner = setup.Loaded();
  setup.stub.SetSteps(OrtStub::kUntilEnded);
  const size_t before = setup.stub.begun();
  Outcome first, queued, behind;
  const Signal first_signal = setup.Run(runner, first.done());
  const Signal queued_signal = setup.Run(runner, queued.done());
  const Signal behind_signal = setup.Run(runner, behind.done());
  setup.stub.WaitUntilBegun(before + 1);
  queued_signal->Cancel();
  CHECK(!queued.told() && !first.told(), "jobs are out of order");
  setup.stub.SetSteps(1);
  // The micro-batch under way may end by itself first.
  first_signal->Cancel();
  const std::string ended = first.Wait();
  CHECK(ended == "cancelled" || ended == "done", "'%s'", ended.c_str());
  CHECK_OUTCOME(queued, "cancelled");
  CHECK_OUTCOME(behind, "done");
  behind_signal->Cancel();  // which changes nothing
  Outcome later;
  setup.Run(runner, later.done());
  CHECK_OUTCOME(later, "done");
  Setup::Release(runner);
}

// In the middle of a load and of a run, and what comes behind.
void TestMiddle() {
  Setup setup;
  setup.stub.SetSteps(OrtStub::kUntilEnded);
  Runner runner = setup.Make();
  Outcome load, run;
  const Signal loading = setup.Load(runner, load.done());
  setup.Run(runner, run.done());
  setup.stub.WaitUntilBegun(1);
  loading->Cancel();
  CHECK_OUTCOME(load, "cancelled");
  CHECK_OUTCOME(run, kNotLoaded);
  Setup::Release(runner);

  setup.stub.SetSteps(1);
  runner = setup.Loaded();
  setup.stub.SetSteps(OrtStub::kUntilEnded);
  size_t begun = setup.stub.begun() + 1;
  Outcome stopped, next;
  const auto check = [&] { CHECK(setup.stub.begun() == begun, "a run began afterwards"); };
  const Signal running = setup.Run(runner, stopped.done(check));
  setup.stub.WaitUntilBegun(begun);
  running->Cancel();
  CHECK_OUTCOME(stopped, "cancelled");
  setup.stub.SetSteps(1);
  setup.Run(runner, next.done());
  CHECK_OUTCOME(next, "done");
  Setup::Release(runner);
}

// Jobs that share a cancellation: each is one that can be cancelled until it is done.
void TestSharedCancellation() {
  Setup setup;
  Runner runner = setup.Loaded();
  const auto memory = std::make_shared<std::vector<float>>(4);
  const auto signal = std::make_shared<ort::Cancellation>();
  const auto run = [&](const SessionRunner::Done& done) {
    runner->Run({{}, {{"patches", ort::kFloat, {4}, memory->data(), 4, {}, memory}}, 4, 4}, signal,
                done);
  };
  const size_t begun = setup.stub.begun();
  Outcome first, second;
  run(first.done([&] { setup.stub.SetSteps(OrtStub::kUntilEnded); }));
  run(second.done());
  CHECK_OUTCOME(first, "done");
  setup.stub.WaitUntilBegun(begun + 2);
  runner->CancelAll();
  CHECK_OUTCOME(second, "cancelled");
  Setup::Release(runner);
}

// Cancellations at moments that nobody chose.
void TestAnyMoment() {
  Setup setup;
  setup.stub.SetSteps(3);
  for (int round = 0; round < 60; ++round) {
    const std::string provider = round % 2 == 0 ? "cpu" : "cuda";
    Runner runner = setup.Make(provider);
    Outcome load, run, last;
    const Signal loading = setup.Load(runner, load.done(), provider);
    const Signal running = setup.Run(runner, run.done());
    setup.Run(runner, last.done());
    std::this_thread::sleep_for(std::chrono::microseconds(round * 17));
    (round % 3 == 0 ? loading : running)->Cancel();
    const bool loaded = load.Wait() == "done";
    CHECK(loaded || (load.Wait() == "cancelled" && round % 3 == 0), "'%s'", load.Wait().c_str());
    const std::string ran = run.Wait();
    CHECK(ran == (loaded ? "done" : kNotLoaded) || (ran == "cancelled" && round % 3 != 0), "'%s'",
          ran.c_str());
    CHECK_OUTCOME(last, loaded ? "done" : kNotLoaded);
    Setup::Release(runner);
  }
}

void TestRelease() {
  Setup setup;
  Runner runner = setup.Loaded();
  Outcome run, first, second, refused, third;
  setup.Run(runner, run.done());
  runner->Release(first.done());
  runner->Release(second.done());
  setup.Run(runner, refused.done());
  CHECK(refused.told(), "a refusal is told at once");
  CHECK_OUTCOME(refused, kDisposed);
  CHECK_OUTCOME(run, "done");
  CHECK_OUTCOME(first, "done");
  CHECK_OUTCOME(second, "done");
  CHECK(setup.stub.live().empty(), "%s", setup.stub.live().c_str());
  runner->Release(third.done());
  CHECK_OUTCOME(third, "done");
  runner->Shutdown();

  runner = setup.Make();  // which never loads anything
  Setup::Release(runner);
}

// One that its owner lets go of in the middle finishes what it was asked, in memory that stays.
void TestForgotten() {
  Setup setup;
  Runner runner = setup.Loaded("cuda");
  const std::weak_ptr<SessionRunner> forgotten = runner;
  auto memory = std::make_shared<std::vector<float>>(4);
  const std::weak_ptr<std::vector<float>> kept = memory;
  Outcome run;
  setup.Run(runner, run.done([&] { CHECK(!kept.expired(), "the memory of a run is gone"); }),
            memory);
  memory.reset();
  Outcome released;
  runner->Release(released.done());
  runner.reset();
  CHECK_OUTCOME(run, "done");
  CHECK_OUTCOME(released, "done");
  ort::JobThread::JoinEnded();
  CHECK(forgotten.expired() && kept.expired(), "something is still held");
}

void TestThreadSharing() {
  Setup setup;
  std::vector<Runner> runners;
  std::vector<std::thread::id> threads;
  for (const char* provider : {"cuda", "cuda", "cpu", "cpu", "dml"}) {
    runners.push_back(setup.Loaded(provider));
    Outcome run;
    setup.Run(runners.back(), run.done());
    threads.push_back(run.thread());
  }
  CHECK(threads[0] == threads[1], "two threads for one GPU");
  for (size_t i = 1; i < threads.size(); ++i) {
    for (size_t j = i + 1; j < threads.size(); ++j) {
      CHECK(threads[i] != threads[j], "sessions %zu and %zu share a thread", i, j);
    }
  }
  Setup::Release(runners[0]);
  Outcome run;
  setup.Run(runners[1], run.done());
  CHECK(run.thread() == threads[1], "another thread");
  for (size_t i = 1; i < runners.size(); ++i) Setup::Release(runners[i]);
  Runner again = setup.Loaded("cuda");
  Setup::Release(again);
}

void TestShutdown() {
  for (const bool all : {false, true}) {
    Setup setup;
    const Runner loaded = setup.Loaded("cuda");
    setup.stub.SetSteps(OrtStub::kUntilEnded);
    const size_t begun = setup.stub.begun();
    Outcome run, queued, load, unloaded, shared;
    setup.Run(loaded, run.done());
    setup.Run(loaded, queued.done());
    const Runner loading = setup.Make("cpu");
    setup.Load(loading, load.done());
    setup.Run(loading, unloaded.done());
    const Runner sharing = setup.Make("cuda");
    const Signal waiting = setup.Load(sharing, shared.done(), "cuda");
    setup.stub.WaitUntilBegun(begun + 2);
    if (all) {
      SessionRunner::ShutdownAll();
    } else {
      // A shutdown waits for what is before it on a shared thread.
      waiting->Cancel();
      for (const Runner& runner : {loaded, loading, sharing}) runner->Shutdown();
    }
    for (const Outcome* outcome : {&run, &queued, &load, &unloaded, &shared}) {
      CHECK(outcome->told(), "a shutdown left a job");
      CHECK_OUTCOME(*outcome, "cancelled");
    }
    CHECK(setup.stub.live().empty(), "%s", setup.stub.live().c_str());
    Outcome refused;
    setup.Run(loaded, refused.done());
    CHECK_OUTCOME(refused, kDisposed);
    loaded->Shutdown();
    SessionRunner::ShutdownAll();
  }
}

// A shutdown returns after every `done`, also when the session is being freed already.
void TestShutdownWaits() {
  Setup setup;
  Runner runner = setup.Loaded();
  Outcome entered, released;
  const auto slowly = [done = entered.done()] {
    done(nullptr);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  };
  runner->Release(released.done(slowly));
  CHECK_OUTCOME(entered, "done");
  runner->Shutdown();
  CHECK(released.told(), "a shutdown did not wait for the release before it");

  runner = setup.Loaded();
  setup.stub.SetSteps(OrtStub::kUntilEnded);
  Outcome run;
  setup.Run(runner, run.done());
  std::thread other([&] { SessionRunner::ShutdownAll(); });
  SessionRunner::ShutdownAll();
  other.join();
  CHECK_OUTCOME(run, "cancelled");
}

}  // namespace

void TestOrtRunner() {
  TestQueue();
  TestMiddle();
  TestSharedCancellation();
  TestAnyMoment();
  TestRelease();
  TestForgotten();
  TestThreadSharing();
  TestShutdown();
  TestShutdownWaits();
}

}  // namespace longvlm
