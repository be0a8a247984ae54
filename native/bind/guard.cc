#include "bind/guard.h"

#include <new>
#include <stdexcept>
#include <string>

#include "core/error.h"

namespace longvlm {

Napi::Error ToJsError(Napi::Env env, const char* callee, const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    Napi::Error js_error = Napi::Error::New(env, error.what());
    js_error.Set("code", Napi::String::New(env, error.code()));
    return js_error;
  } catch (const std::invalid_argument& error) {
    return Napi::RangeError::New(env, error.what());
  } catch (const std::bad_alloc&) {
    return Napi::RangeError::New(env, std::string(callee) + ": not enough memory");
  } catch (const std::exception& error) {
    return Napi::Error::New(env, std::string(callee) + ": " + error.what());
  } catch (...) {
    return Napi::Error::New(env, std::string(callee) + ": unknown exception");
  }
}

}  // namespace longvlm
