#include "bind/settler.h"

#include <stdexcept>

#include "bind/guard.h"
#include "bind/held_memory.h"

namespace longvlm {

std::shared_ptr<Settler> Settler::Make(Napi::Env env) {
  auto settler = std::make_shared<Settler>(env);
  // Node frees the function some time after Close(): what it calls has an owner of its own.
  auto* owner = new std::weak_ptr<Settler>(settler);
  const auto free_owner = [](napi_env, void* data, void*) {
    delete static_cast<std::weak_ptr<Settler>*>(data);
  };
  const auto call = [](napi_env env, napi_value, void* context, void*) {
    // Without an environment, which is being torn down, the owner is gone already.
    if (env == nullptr) return;
    const auto settler = static_cast<std::weak_ptr<Settler>*>(context)->lock();
    if (settler != nullptr) settler->SettleArrived();
  };
  const Napi::String name = Napi::String::New(env, "longvlm");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, owner, free_owner, owner,
                                      call, &settler->wake_) != napi_ok) {
    delete owner;
    throw std::runtime_error("the event loop cannot be called back");
  }
  napi_unref_threadsafe_function(env, settler->wake_);
  return settler;
}

std::pair<Napi::Promise, Settler::Settle> Settler::Expect(const char* callee,
                                                          const std::vector<Napi::Object>& kept) {
  const uint64_t id = calls_++;
  Expected expected{callee, Napi::Promise::Deferred::New(env_), {}, {}};
  for (const Napi::Object& object : kept) {
    expected.kept.push_back(Napi::Persistent(object));
    expected.memory.push_back(HoldMemory(object));
  }
  const Napi::Promise promise = expected.deferred.Promise();
  if (expected_.empty()) napi_ref_threadsafe_function(env_, wake_);
  expected_.emplace(id, std::move(expected));
  return {promise, [self = shared_from_this(), id](std::exception_ptr failure) {
            self->Arrive(id, std::move(failure));
          }};
}

void Settler::Arrive(uint64_t id, std::exception_ptr failure) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (wake_ == nullptr) return;
  arrived_.emplace_back(id, std::move(failure));
  napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

void Settler::SettleArrived() {
  const Napi::HandleScope scope(env_);
  std::vector<std::pair<uint64_t, std::exception_ptr>> arrived;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    arrived.swap(arrived_);
  }
  for (auto& [id, failure] : arrived) {
    const auto found = expected_.find(id);
    if (found == expected_.end()) continue;
    const Expected expected = std::move(found->second);
    expected_.erase(found);
    if (failure == nullptr) {
      expected.deferred.Resolve(env_.Undefined());
    } else {
      expected.deferred.Reject(ToJsError(env_, expected.callee, failure).Value());
    }
  }
  if (!arrived.empty() && expected_.empty()) napi_unref_threadsafe_function(env_, wake_);
}

void Settler::Close() {
  const Napi::HandleScope scope(env_);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (wake_ == nullptr) return;
    napi_release_threadsafe_function(wake_, napi_tsfn_abort);
    wake_ = nullptr;
  }
  expected_.clear();
}

}  // namespace longvlm
