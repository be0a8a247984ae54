#include "bind/promise_worker.h"

#include <utility>

#include "bind/guard.h"
#include "core/batch_scheduling.h"
#include "core/error.h"

namespace longvlm {

PromiseWorker::PromiseWorker(Napi::Env env, const char* callee)
    : Napi::AsyncWorker(env, callee),
      callee_(callee),
      deferred_(Napi::Promise::Deferred::New(env)),
      cancelled_(std::make_shared<std::atomic<bool>>(false)) {}

Napi::Object PromiseWorker::Start(std::unique_ptr<PromiseWorker> worker) {
  const Napi::Env env = worker->Env();
  Napi::Object task = Napi::Object::New(env);
  task.Set("promise", worker->deferred_.Promise());
  task.Set("cancel",
           Napi::Function::New(env, [flag = worker->cancelled_](const Napi::CallbackInfo&) {
             flag->store(true, std::memory_order_relaxed);
           }));
  worker.release()->Queue();
  return task;
}

void PromiseWorker::Execute() {
  try {
    if (cancelled_->load(std::memory_order_relaxed)) throw Cancelled();
    // Otherwise this thread would preempt the JavaScript thread, which woke it, on its core.
    [[maybe_unused]] const BatchScheduling batch;
    Run(*cancelled_);
  } catch (...) {
    exception_ = std::current_exception();
    SetError("failed");  // only so that OnError() is called
  }
}

void PromiseWorker::OnOK() { deferred_.Resolve(Result(Env())); }

void PromiseWorker::OnError(const Napi::Error&) {
  deferred_.Reject(ToJsError(Env(), callee_, exception_).Value());
}

namespace {

class Task : public PromiseWorker {
 public:
  Task(Napi::Env env, const char* callee, const std::vector<Napi::Object>& kept,
       std::function<void(const std::atomic<bool>&)> run)
      : PromiseWorker(env, callee), run_(std::move(run)) {
    for (const Napi::Object& object : kept) Keep(object);
  }

 protected:
  void Run(const std::atomic<bool>& cancelled) override { run_(cancelled); }

 private:
  std::function<void(const std::atomic<bool>&)> run_;
};

}  // namespace

Napi::Object StartTask(Napi::Env env, const char* callee, const std::vector<Napi::Object>& kept,
                       std::function<void(const std::atomic<bool>& cancelled)> run) {
  return PromiseWorker::Start(std::make_unique<Task>(env, callee, kept, std::move(run)));
}

}  // namespace longvlm
