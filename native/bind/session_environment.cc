#include "bind/session_environment.h"

#include "ort/job_thread.h"

namespace longvlm {

// Hooks run in reverse order: the settler's own way to call back ends after this.
SessionEnvironment::SessionEnvironment(Napi::Env env) : settler_(Settler::Make(env)) {
  napi_add_env_cleanup_hook(
      env, [](void* self) { static_cast<SessionEnvironment*>(self)->Close(); }, this);
}

void SessionEnvironment::Add(const std::shared_ptr<ort::SessionRunner>& runner) {
  std::erase_if(runners_, [](const auto& entry) { return entry.second.expired(); });
  runners_[runner.get()] = runner;
}

void SessionEnvironment::EndSessions() {
  // First all, since sessions of one GPU wait for each other.
  for (const auto& [address, held] : runners_) {
    if (const auto runner = held.lock()) runner->CancelAll();
  }
  for (const auto& [address, held] : runners_) {
    if (const auto runner = held.lock()) runner->Shutdown();
  }
  ort::JobThread::JoinEnded();
}

void SessionEnvironment::Close() {
  EndSessions();
  settler_->Close();
}

}  // namespace longvlm
