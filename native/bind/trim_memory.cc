#include "core/trim_memory.h"

#include "bind/bindings.h"
#include "bind/guard.h"
#include "bind/native_task.h"

namespace longvlm {
namespace {

// trimMemory(): NativeTask
Napi::Value TrimMemoryAsync(const Napi::CallbackInfo& info) {
  constexpr const char* kCallee = "trimMemory";
  return Guard(info.Env(), kCallee, [&]() -> Napi::Value {
    return StartTask(info.Env(), kCallee, &EnvironmentWork::waiting, {},
                     [](const std::atomic<bool>&) { TrimMemory(); });
  });
}

}  // namespace

void InitTrimMemory(Napi::Env env, Napi::Object exports) {
  exports.Set("trimMemory", Napi::Function::New(env, TrimMemoryAsync));
}

}  // namespace longvlm
