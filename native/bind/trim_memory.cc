#ifdef __linux__
#include <features.h>
#endif
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "bind/bindings.h"
#include "bind/guard.h"

namespace longvlm {
namespace {

// trimMemory(): void
Napi::Value TrimMemory(const Napi::CallbackInfo& info) {
  return Guard(info.Env(), "trimMemory", [&]() -> Napi::Value {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    return info.Env().Undefined();
  });
}

}  // namespace

void InitTrimMemory(Napi::Env env, Napi::Object exports) {
  exports.Set("trimMemory", Napi::Function::New(env, TrimMemory));
}

}  // namespace longvlm
