// What one environment has asked of native threads, which ends with it.
#pragma once

#include <map>
#include <memory>

#include "bind/settler.h"
#include "core/thread_pool.h"
#include "ort/session_runner.h"

namespace longvlm {

class EnvironmentWork {
 public:
  // Throws std::runtime_error.
  explicit EnvironmentWork(Napi::Env env);

  Settler& settler() { return *settler_; }

  // The sessions of ONNX Runtime.
  void Add(const std::shared_ptr<ort::SessionRunner>& runner);
  // Cancels what is under way, and returns when every session is freed.
  void EndSessions();

  // The kernels' threads, and those for tasks that wait for a GPU or llama.cpp. They start when
  // they are needed and stay until the last environment ends. Throw as ThreadPool::Shared() does.
  ThreadPool& computing();
  ThreadPool& waiting();

 private:
  // Afterwards no thread knows the environment.
  void Close();

  const std::shared_ptr<Settler> settler_;
  std::map<ort::SessionRunner*, std::weak_ptr<ort::SessionRunner>> runners_;
  std::shared_ptr<ThreadPool> computing_;
  std::shared_ptr<ThreadPool> waiting_;
};

}  // namespace longvlm
