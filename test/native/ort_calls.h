// How work over OrtStub ended, and what it called.
#pragma once

#include <string>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "ort_stub.h"

namespace longvlm {

using Calls = std::vector<std::string>;

// "done", "cancelled", or the code and the text of an Error.
template <typename Work>
std::string OutcomeOf(Work work) {
  try {
    work();
  } catch (const Error& error) {
    return error.code() + std::string(": ") + error.what();
  } catch (const Cancelled&) {
    return "cancelled";
  }
  return "done";
}

inline void CheckCalls(const OrtStub& stub, const Calls& expected) {
  const Calls calls = stub.calls();
  for (size_t i = 0; i < calls.size() || i < expected.size(); ++i) {
    const std::string call = i < calls.size() ? calls[i] : "nothing";
    const std::string wanted = i < expected.size() ? expected[i] : "nothing";
    CHECK(call == wanted, "call %zu is '%s' and not '%s'", i, call.c_str(), wanted.c_str());
  }
}

}  // namespace longvlm
