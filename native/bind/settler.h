// Settles promises from threads that are not Node's.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "napi/napi_setup.h"

namespace longvlm {

// One per environment. Expect() and the destructor belong to the JavaScript thread.
class Settler : public std::enable_shared_from_this<Settler> {
 public:
  // Throws std::runtime_error when Node gives no way to call back.
  static std::shared_ptr<Settler> Make(Napi::Env env);

  // A promise, and what settles it from any thread, once: with an exception, or with undefined.
  // Until then the event loop goes on, and `kept` stays alive, with its memory. `callee` is the
  // name of the JavaScript function for messages; must be a string literal.
  using Settle = std::function<void(std::exception_ptr)>;
  std::pair<Napi::Promise, Settle> Expect(const char* callee,
                                          const std::vector<Napi::Object>& kept);

  // When the environment ends: nothing is settled any more.
  void Close();

  explicit Settler(Napi::Env env) : env_(env) {}

 private:
  struct Expected {
    const char* callee;
    Napi::Promise::Deferred deferred;
    std::vector<Napi::ObjectReference> kept;
    std::vector<std::shared_ptr<void>> memory;
  };

  void Arrive(uint64_t id, std::exception_ptr failure);
  void SettleArrived();

  const Napi::Env env_;
  uint64_t calls_ = 0;
  std::map<uint64_t, Expected> expected_;

  std::mutex mutex_;
  napi_threadsafe_function wake_ = nullptr;  // null after Close()
  std::vector<std::pair<uint64_t, std::exception_ptr>> arrived_;
};

}  // namespace longvlm
