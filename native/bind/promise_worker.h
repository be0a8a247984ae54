// Work off the JavaScript thread that settles a promise and can be cancelled.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "napi/napi_setup.h"

namespace longvlm {

// A subclass writes Run(), and Result() when the promise has a value. It deletes itself.
class PromiseWorker : public Napi::AsyncWorker {
 public:
  // Queues `worker`. Returns { promise, cancel }: cancel() raises the flag that Run() polls, any
  // number of times, also after the end.
  static Napi::Object Start(std::unique_ptr<PromiseWorker> worker);

 protected:
  // `callee` names the JavaScript function in messages and must be a literal.
  PromiseWorker(Napi::Env env, const char* callee);

  // Keeps an object, such as a typed array that Run() reads or writes, alive until the promise is
  // settled.
  void Keep(const Napi::Object& object) { kept_.push_back(Napi::Persistent(object)); }

  // On another thread: touches plain data only. Throws Cancelled soon after `cancelled` is true.
  virtual void Run(const std::atomic<bool>& cancelled) = 0;

  // On the JavaScript thread, after Run(): what the promise is fulfilled with.
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

// Starts `run` as a PromiseWorker without a value, `kept` alive meanwhile.
Napi::Object StartTask(Napi::Env env, const char* callee, const std::vector<Napi::Object>& kept,
                       std::function<void(const std::atomic<bool>& cancelled)> run);

}  // namespace longvlm
