// Errors with a code of LongVLMError, and the exception of a cancelled operation. Wrong arguments
// are std::invalid_argument, which becomes a RangeError in JavaScript.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>

namespace longvlm {

class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  const char* code() const { return code_; }

 private:
  const char* code_;
};

class Cancelled : public std::exception {
 public:
  const char* what() const noexcept override { return "The operation was cancelled"; }
};

}  // namespace longvlm
