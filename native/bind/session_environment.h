// The sessions of one environment, which end with it.
#pragma once

#include <map>
#include <memory>

#include "bind/settler.h"
#include "ort/session_runner.h"

namespace longvlm {

class SessionEnvironment {
 public:
  // Throws std::runtime_error.
  explicit SessionEnvironment(Napi::Env env);

  Settler& settler() { return *settler_; }
  void Add(const std::shared_ptr<ort::SessionRunner>& runner);

  // Cancels what is under way, and returns when every session is freed.
  void EndSessions();

 private:
  // Afterwards no thread knows the environment.
  void Close();

  const std::shared_ptr<Settler> settler_;
  std::map<ort::SessionRunner*, std::weak_ptr<ort::SessionRunner>> runners_;
};

}  // namespace longvlm
