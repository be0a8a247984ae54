// ONNX Runtime's library, opened at run time from the package that brings it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ort/ort_abi.h"

namespace longvlm::ort {

class Library {
 public:
  // The library in the file `path`, opened once per process and never closed, with its environment,
  // which is never released: its threads may outlive every session. Telemetry is off before the
  // environment is created. Throws Error ERR_LONGVLM_UNSUPPORTED when the library cannot be opened
  // or is too old.
  static const Library& Open(const std::string& path);

  // What a library exports: the function of that name, or null.
  using Exports = std::function<void*(const char* name)>;

  // The library that has these exports; `path` is what errors call it. For tests: others Open().
  Library(Exports exports, const std::string& path);
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  const Api& api() const { return api_; }
  const OrtEnv* environment() const { return environment_; }
  const std::string& version() const { return version_; }

  // The execution providers that it was built with, by ONNX Runtime's names.
  std::vector<std::string> Providers() const;

  // A function that it exports beside the table; null if it has none of that name.
  void* Find(const char* name) const { return exports_(name); }

  // Throws Error ERR_LONGVLM_INFERENCE with ONNX Runtime's text unless `status` is null.
  void Check(OrtStatus* status) const;

  // For calls whose failure changes nothing.
  void Ignore(OrtStatus* status) const;

 private:
  const Exports exports_;
  Api api_;
  OrtEnv* environment_ = nullptr;
  std::string version_;
};

}  // namespace longvlm::ort
