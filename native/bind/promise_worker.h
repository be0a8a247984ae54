// Cancellable work on another thread, which settles a promise.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "napi/napi_setup.h"

namespace longvlm {

// A subclass overrides Run(), and Result() if the promise has a value. The object deletes itself.
class PromiseWorker : public Napi::AsyncWorker {
 public:
  // Queues `worker`. Returns { promise, cancel }: cancel() sets the flag that Run() polls. It may
  // be called several times, also after the end.
  static Napi::Object Start(std::unique_ptr<PromiseWorker> worker);

 protected:
  // `callee` is the name of the JavaScript function for messages; must be a string literal.
  PromiseWorker(Napi::Env env, const char* callee);

  // Keeps an object, such as a typed array that Run() reads or writes, alive until the promise is
  // settled.
  void Keep(const Napi::Object& object) { kept_.push_back(Napi::Persistent(object)); }

  // Runs on another thread, and must access plain data only. Throws Cancelled soon after
  // `cancelled` is set.
  virtual void Run(const std::atomic<bool>& cancelled) = 0;

  // Runs on the JavaScript thread after Run(): the value of the promise.
  virtual Napi::Value Result(Napi::Env env) { return env.Undefined(); }

 private:
  void Execute() final;
  void OnOK() final;
  void OnError(const Napi::Error&) final;

  const char* callee_;
  Napi::Promise::Deferred deferred_;
  std::shared_ptr<std::atomic<bool>> cancelled_;
  std::exception_ptr exception_;
  std::vector<Napi::ObjectReference> kept_;
};

// Starts `run` as a PromiseWorker without a value. `kept` stays alive until it is done.
Napi::Object StartTask(Napi::Env env, const char* callee, const std::vector<Napi::Object>& kept,
                       std::function<void(const std::atomic<bool>& cancelled)> run);

}  // namespace longvlm
