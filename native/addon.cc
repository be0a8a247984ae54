// Registers the module. It is loaded once in every environment: the main thread and each worker
// thread.
#include "bind/addon_state.h"
#include "bind/bindings.h"

namespace {

constexpr void (*kInitFunctions[])(Napi::Env, Napi::Object) = {
    longvlm::InitInstructionSet,     longvlm::InitMergeTokens,
    longvlm::InitTokenMetric,        longvlm::InitBipartiteSoftMatching,
    longvlm::InitPoolClsTokens,      longvlm::InitDeviceBuffers,
    longvlm::InitEvaluateEmbeddings, longvlm::InitOrtSessions,
    longvlm::InitReducers,           longvlm::InitReducerParts,
    longvlm::InitRoundToEightBits,   longvlm::InitConcurrency,
    longvlm::InitHeldMemory,         longvlm::InitTrimMemory,
};

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  longvlm::AddonState::Attach(env);
  for (auto* init : kInitFunctions) init(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(longvlm, Init)
