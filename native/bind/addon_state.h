// The addon's state for one environment: the main thread or a worker thread.
#pragma once

#include <memory>

#include "bind/session_environment.h"
#include "core/thread_pool.h"
#include "core/token_merger_cache.h"
#include "napi/napi_setup.h"

namespace longvlm {

class AddonState {
 public:
  static void Attach(Napi::Env env) { env.SetInstanceData(new AddonState()); }

  // The kernels' threads, started on first use and kept until the last environment exits.
  static std::shared_ptr<ThreadPool> Threads(Napi::Env env) {
    AddonState* state = env.GetInstanceData<AddonState>();
    if (state->threads_ == nullptr) state->threads_ = ThreadPool::Shared();
    return state->threads_;
  }

  // Scratch memory of mergeTokens().
  static std::shared_ptr<TokenMergerCache> Mergers(Napi::Env env) {
    return env.GetInstanceData<AddonState>()->mergers_;
  }

  // ONNX Runtime's sessions, and the promises of their work.
  static SessionEnvironment& Sessions(Napi::Env env) {
    AddonState* state = env.GetInstanceData<AddonState>();
    if (state->sessions_ == nullptr) state->sessions_ = std::make_unique<SessionEnvironment>(env);
    return *state->sessions_;
  }

 private:
  std::unique_ptr<SessionEnvironment> sessions_;
  std::shared_ptr<ThreadPool> threads_;
  std::shared_ptr<TokenMergerCache> mergers_ = std::make_shared<TokenMergerCache>();
};

}  // namespace longvlm
