// Converts C++ exceptions to JavaScript errors in synchronous entry points. Settler does the same
// for asynchronous ones.
#pragma once

#include <exception>
#include <utility>

#include "napi/napi_setup.h"

namespace longvlm {

// The JavaScript error for an exception of `callee`. `code` is set if the exception has a code;
// std::invalid_argument becomes a RangeError.
Napi::Error ToJsError(Napi::Env env, const char* callee, const std::exception_ptr& exception);

// Runs body() and returns its value. Exceptions become the pending JavaScript exception. One that
// is pending already, thrown by a getter of the caller's, is passed on: body() may throw anything
// to end then.
template <typename Body>
Napi::Value Guard(Napi::Env env, const char* callee, Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (...) {
    if (!env.IsExceptionPending()) {
      ToJsError(env, callee, std::current_exception()).ThrowAsJavaScriptException();
    }
    return {};
  }
}

}  // namespace longvlm
