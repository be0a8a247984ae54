// The first of the two doors where C++ exceptions stop: synchronous entry points. PromiseWorker is
// the other.
#pragma once

#include <exception>
#include <utility>

#include "napi/napi_setup.h"

namespace longvlm {

// The JavaScript error for what `callee` threw. `code` is set when it has one;
// std::invalid_argument becomes a RangeError.
Napi::Error ToJsError(Napi::Env env, const char* callee, const std::exception_ptr& exception);

// Runs body() and returns its value; what it throws becomes the pending JavaScript exception.
template <typename Body>
Napi::Value Guard(Napi::Env env, const char* callee, Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (...) {
    ToJsError(env, callee, std::current_exception()).ThrowAsJavaScriptException();
    return env.Undefined();
  }
}

}  // namespace longvlm
