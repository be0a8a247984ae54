#include "ort/session_runner.h"

#include <cstdlib>
#include <future>
#include <map>
#include <utility>

#include "core/trim_memory.h"

namespace longvlm::ort {
namespace {

struct Registry {
  std::mutex mutex;
  std::map<SessionRunner*, std::weak_ptr<SessionRunner>> runners;
};

// Not destroyed at exit, when threads may still use it.
Registry& TheRegistry() {
  static auto& registry = *new Registry;
  return registry;
}

// For exits that JavaScript is not told of. Handlers run in reverse order: most of ONNX Runtime's
// own, registered when it was loaded, come later. On Windows no other thread is alive by then.
void ShutDownAtExit() {
#if !defined(_WIN32)
  static const int registered = std::atexit([] { SessionRunner::ShutdownAll(); });
  (void)registered;
#endif
}

}  // namespace

std::shared_ptr<SessionRunner> SessionRunner::Make(const Library& library,
                                                   const std::string& device) {
  auto runner = std::make_shared<SessionRunner>(library, device);
  {
    Registry& registry = TheRegistry();
    const std::lock_guard<std::mutex> lock(registry.mutex);
    registry.runners[runner.get()] = runner;
  }
  ShutDownAtExit();
  return runner;
}

SessionRunner::SessionRunner(const Library& library, const std::string& device)
    : library_(library), thread_(JobThread::Acquire(device)) {}

SessionRunner::~SessionRunner() {
  Registry& registry = TheRegistry();
  const std::lock_guard<std::mutex> lock(registry.mutex);
  registry.runners.erase(this);
}

void SessionRunner::Load(std::vector<std::byte> model, SessionOptions options,
                         std::shared_ptr<Cancellation> cancellation, Done done) {
  Add(
      std::move(cancellation),
      [this, model = std::move(model), options = std::move(options)](Cancellation& load) {
        session_ = std::make_unique<Session>(library_, model, options, load);
        TrimMemory();
      },
      std::move(done));
}

void SessionRunner::Run(RunCall call, std::shared_ptr<Cancellation> cancellation, Done done) {
  Add(
      std::move(cancellation),
      [this, call = std::move(call)](Cancellation& run) {
        if (session_ == nullptr) throw Error("ERR_LONGVLM_INFERENCE", "The graph was not loaded");
        session_->Run(call, run);
      },
      std::move(done));
}

void SessionRunner::Add(std::shared_ptr<Cancellation> cancellation,
                        std::function<void(Cancellation&)> work, Done done) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!released_) {
      pending_.insert(cancellation);
      // Held until the job is done: the memory that it works on must not outlive the session's.
      thread_->Add([self = shared_from_this(), cancellation, work = std::move(work), done] {
        std::exception_ptr failure;
        try {
          if (cancellation->cancelled()) throw Cancelled();
          work(*cancellation);
        } catch (...) {
          failure = std::current_exception();
        }
        {
          const std::lock_guard<std::mutex> lock(self->mutex_);
          self->pending_.erase(self->pending_.find(cancellation));
        }
        done(failure);
      });
      return;
    }
  }
  done(std::make_exception_ptr(Error("ERR_LONGVLM_DISPOSED", "The session was released")));
}

void SessionRunner::Release(Done done) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!freed_) {
      when_freed_.push_back(std::move(done));
      if (!released_) thread_->Add([self = shared_from_this()] { self->Free(); });
      released_ = true;
      return;
    }
  }
  done(nullptr);
}

void SessionRunner::Free() {
  session_.reset();
  TrimMemory();
  thread_->Leave();
  while (true) {
    std::vector<Done> waiting;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      // Not before every earlier `done` was called: Shutdown() waits for them.
      freed_ = when_freed_.empty();
      if (freed_) return;
      waiting.swap(when_freed_);
    }
    for (const Done& done : waiting) done(nullptr);
  }
}

void SessionRunner::CancelAll() {
  std::multiset<std::shared_ptr<Cancellation>> pending;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    pending = pending_;
  }
  for (const auto& cancellation : pending) cancellation->Cancel();
}

void SessionRunner::Shutdown() {
  std::promise<void> freed;
  Release([&](std::exception_ptr) { freed.set_value(); });
  CancelAll();
  freed.get_future().wait();
}

void SessionRunner::ShutdownAll() {
  std::vector<std::shared_ptr<SessionRunner>> runners;
  {
    Registry& registry = TheRegistry();
    const std::lock_guard<std::mutex> lock(registry.mutex);
    for (const auto& [address, held] : registry.runners) {
      if (auto runner = held.lock()) runners.push_back(std::move(runner));
    }
  }
  for (const auto& runner : runners) runner->CancelAll();
  for (const auto& runner : runners) runner->Shutdown();
  runners.clear();
  JobThread::JoinEnded();
}

}  // namespace longvlm::ort
