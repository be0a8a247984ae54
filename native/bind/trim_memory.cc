#include "core/trim_memory.h"

#include "bind/bindings.h"

namespace longvlm {
namespace {

// trimMemory(): void
void Trim(const Napi::CallbackInfo&) { TrimMemory(); }

}  // namespace

void InitTrimMemory(Napi::Env env, Napi::Object exports) {
  exports.Set("trimMemory", Napi::Function::New(env, Trim));
}

}  // namespace longvlm
