// A session on a JobThread: loading, runs and release are jobs that are done in order.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "ort/cancellation.h"
#include "ort/job_thread.h"
#include "ort/session.h"

namespace longvlm::ort {

class SessionRunner : public std::enable_shared_from_this<SessionRunner> {
 public:
  // Called on the thread with what a job threw, or null. Must not throw.
  using Done = std::function<void(std::exception_ptr)>;

  // A runner for a session on `device`, as JobThread::Acquire takes it. Release() has to be called
  // in the end. Throws std::runtime_error when there can be no thread.
  static std::shared_ptr<SessionRunner> Make(const Library& library, const std::string& device);

  // Loads `model`. To be called once, before Run().
  void Load(std::vector<std::byte> model, SessionOptions options,
            std::shared_ptr<Cancellation> cancellation, Done done);

  // Runs the graph after what was asked before. The memory of the call must stay until `done`.
  void Run(RunCall call, std::shared_ptr<Cancellation> cancellation, Done done);

  // Frees the session after what was asked before. Later calls fail. May be called several times.
  void Release(Done done);

  // Cancels every job that is not done.
  void CancelAll();

  // Cancels everything, and returns once the session is freed and every `done` was called.
  void Shutdown();

  // Shuts down every session of the process. Called before ONNX Runtime's own destructors at exit.
  static void ShutdownAll();

  SessionRunner(const Library& library, const std::string& device);
  ~SessionRunner();

 private:
  // Does `work` on the thread, unless the session was released.
  void Add(std::shared_ptr<Cancellation> cancellation, std::function<void(Cancellation&)> work,
           Done done);
  void Free();

  const Library& library_;
  const std::shared_ptr<JobThread> thread_;
  std::unique_ptr<Session> session_;  // used on the thread only

  std::mutex mutex_;
  bool released_ = false;
  bool freed_ = false;
  std::vector<Done> when_freed_;
  std::multiset<std::shared_ptr<Cancellation>> pending_;  // one for each job that is not done
};

}  // namespace longvlm::ort
