#include "bind/environment_work.h"

#include "ort/job_thread.h"

namespace longvlm {

// Hooks run in reverse order: the settler's own way to call back ends after this.
EnvironmentWork::EnvironmentWork(Napi::Env env) : settler_(Settler::Make(env)) {
  napi_add_env_cleanup_hook(
      env, [](void* self) { static_cast<EnvironmentWork*>(self)->Close(); }, this);
}

void EnvironmentWork::Add(const std::shared_ptr<ort::SessionRunner>& runner) {
  std::erase_if(runners_, [](const auto& entry) { return entry.second.expired(); });
  runners_[runner.get()] = runner;
}

void EnvironmentWork::EndSessions() {
  // First all, since sessions of one GPU wait for each other.
  for (const auto& [address, held] : runners_) {
    if (const auto runner = held.lock()) runner->CancelAll();
  }
  for (const auto& [address, held] : runners_) {
    if (const auto runner = held.lock()) runner->Shutdown();
  }
  ort::JobThread::JoinEnded();
}

ThreadPool& EnvironmentWork::computing() {
  if (computing_ == nullptr) computing_ = ThreadPool::Shared();
  return *computing_;
}

ThreadPool& EnvironmentWork::waiting() {
  if (waiting_ == nullptr) waiting_ = ThreadPool::Waiting();
  return *waiting_;
}

void EnvironmentWork::Close() {
  EndSessions();
  if (computing_ != nullptr) computing_->EndTasks(this);
  if (waiting_ != nullptr) waiting_->EndTasks(this);
  settler_->Close();
}

}  // namespace longvlm
