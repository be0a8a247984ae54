#include "bind/arguments.h"
#include "bind/bindings.h"
#include "bind/guard.h"
#include "core/thread_pool.h"

namespace longvlm {
namespace {

// concurrency(): number
Napi::Value GetConcurrency(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "concurrency", [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(ThreadPool::Concurrency()));
  });
}

// setConcurrency(args: { threads: number }): void
Napi::Value SetConcurrency(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "setConcurrency", [&]() -> Napi::Value {
    const size_t threads = Arguments(info).Integer("threads", 0);
    if (threads > ThreadPool::kMostThreads) Invalid("threads", std::to_string(threads));
    ThreadPool::SetConcurrency(threads);
    return info.Env().Undefined();
  });
}

}  // namespace

void InitConcurrency(Napi::Env env, Napi::Object exports) {
  exports.Set("concurrency", Napi::Function::New(env, GetConcurrency));
  exports.Set("setConcurrency", Napi::Function::New(env, SetConcurrency));
}

}  // namespace longvlm
