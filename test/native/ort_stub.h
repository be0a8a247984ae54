// A library that stands in for ONNX Runtime: it writes down what it is asked, counts what is not
// released, fails and waits as it is told. One in the process at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "ort/library.h"

namespace longvlm {

// Its graph has the inputs "frames" and "scale" and the output "patches".
class OrtStub {
 public:
  OrtStub();
  // Everything has to be released by then.
  ~OrtStub();
  OrtStub(const OrtStub&) = delete;
  OrtStub& operator=(const OrtStub&) = delete;

  // What Library is made over.
  ort::Library::Exports exports() const;

  // The calls so far, with what matters of their arguments. Releases are not among them.
  std::vector<std::string> calls() const;
  // Adds what another library was asked.
  void Note(const std::string& text);
  void ForgetCalls();

  // "Session 1" for each kind of object that is not released; empty if there is none.
  std::string live() const;

  static constexpr const char* kFailure = "the stub failed";
  // The call after `count` more ones fails, with this text.
  void FailAfter(size_t count, const std::string& text = kFailure);

  // What the call after `count` more ones does before anything else.
  void DoAfter(size_t count, std::function<void()> action);

  // How long a load and each run take from now on; kUntilEnded: until they are cancelled.
  static constexpr int kUntilEnded = 1 << 30;
  void SetSteps(int steps) { steps_ = steps; }

  // Loads and runs that have begun, which those that are cancelled before do not.
  size_t begun() const { return begun_; }
  // Returns once `count` have.
  void WaitUntilBegun(size_t count) const;

 private:
  friend struct OrtStubFunctions;

  // Notes a call; a status when it is to fail.
  OrtStatus* Call(const std::string& text);
  // The steps of a load or a run; false when it was cancelled.
  bool Work(const std::atomic<bool>& cancelled);
  // Counts an object that is made, or one less.
  void Count(const char* kind, int change);

  std::vector<const void*> table_;
  ort::ApiBase base_;

  mutable std::mutex mutex_;
  std::vector<std::string> calls_;
  std::map<std::string, int> live_;
  // Calls that are to come first; -1 for never.
  std::ptrdiff_t fails_after_ = -1;
  std::string failure_;
  std::ptrdiff_t acts_after_ = -1;
  std::function<void()> action_;

  std::atomic<int> steps_{1};
  std::atomic<size_t> begun_{0};
};

}  // namespace longvlm
