// The addon's state for one environment: the main thread or a worker thread.
#pragma once

#include <memory>

#include "bind/environment_work.h"
#include "core/token_merger_cache.h"
#include "napi/napi_setup.h"

namespace longvlm {

class AddonState {
 public:
  static void Attach(Napi::Env env) { env.SetInstanceData(new AddonState()); }

  // Scratch memory of mergeTokens().
  static std::shared_ptr<TokenMergerCache> Mergers(Napi::Env env) {
    return env.GetInstanceData<AddonState>()->mergers_;
  }

  // Work on other threads, and its promises.
  static EnvironmentWork& Work(Napi::Env env) {
    AddonState* state = env.GetInstanceData<AddonState>();
    if (state->work_ == nullptr) state->work_ = std::make_unique<EnvironmentWork>(env);
    return *state->work_;
  }

 private:
  std::unique_ptr<EnvironmentWork> work_;
  std::shared_ptr<TokenMergerCache> mergers_ = std::make_shared<TokenMergerCache>();
};

}  // namespace longvlm
