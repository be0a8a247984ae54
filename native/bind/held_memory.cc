#include "bind/held_memory.h"

#include "bind/bindings.h"

#if defined(__linux__) && defined(__GLIBCXX__)
#include <dlfcn.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#endif

namespace longvlm {

// Node-API has no way to share a buffer's memory, V8 has: v8::ArrayBuffer::GetBackingStore(), which
// Node exports. It is called only where a trial shows that it is what we take it for; elsewhere the
// inputs are copied. Seen in Node 20 to 26 on Linux; other systems were not tried.
#if defined(__linux__) && defined(__GLIBCXX__)
namespace {

// A napi_value is the address of V8's handle, which is what `this` is for V8's methods.
using GetStore = std::shared_ptr<void> (*)(napi_value buffer);
using GetData = void* (*)(const void* store);

// libstdc++'s counter behind a shared_ptr: a table of functions, owners, observers and one.
struct Counter {
  void* functions;
  int owners;
  int observers;
};

const Counter* CounterOf(const std::shared_ptr<void>& held) {
  static_assert(sizeof held == 2 * sizeof(void*));
  const Counter* counter;
  std::memcpy(&counter, reinterpret_cast<const char*>(&held) + sizeof(void*), sizeof counter);
  return counter;
}

// Whether `get_store` gives what owns the memory of a buffer, together with its other owners.
bool Works(Napi::Env env, GetStore get_store, GetData get_data) {
  constexpr size_t kBytes = 4096;
  const Napi::HandleScope scope(env);
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, kBytes);
  if (buffer.IsEmpty()) return false;
  const std::shared_ptr<void> first = get_store(buffer);
  if (first == nullptr || get_data(first.get()) != buffer.Data()) return false;
  const Counter* counter = CounterOf(first);
  const int owners = counter->owners;
  // In another C++ library's counter, one of these numbers is half of a longer one.
  if (owners < 2 || owners > 16 || counter->observers != 1) return false;
  const std::shared_ptr<void> second = get_store(buffer);
  return second == first && CounterOf(second) == counter && counter->owners == owners + 1;
}

GetStore FindStore(Napi::Env env) {
  const auto get_store =
      reinterpret_cast<GetStore>(dlsym(RTLD_DEFAULT, "_ZN2v811ArrayBuffer15GetBackingStoreEv"));
  const auto get_data =
      reinterpret_cast<GetData>(dlsym(RTLD_DEFAULT, "_ZNK2v812BackingStore4DataEv"));
  const bool works = get_store != nullptr && get_data != nullptr && Works(env, get_store, get_data);
  return works ? get_store : nullptr;
}

GetStore Store(Napi::Env env) {
  static const GetStore found = FindStore(env);
  return found;
}

}  // namespace

namespace {
bool HoldsMemory(Napi::Env env) { return Store(env) != nullptr; }
}  // namespace

std::shared_ptr<void> HoldMemory(const Napi::Object& array) {
  if (!array.IsTypedArray()) return nullptr;
  napi_value buffer = nullptr;
  bool owned = false;
  const GetStore get_store = Store(array.Env());
  if (get_store == nullptr ||
      napi_get_typedarray_info(array.Env(), array, nullptr, nullptr, nullptr, &buffer, nullptr) !=
          napi_ok ||
      napi_is_arraybuffer(array.Env(), buffer, &owned) != napi_ok || !owned) {
    return nullptr;
  }
  return get_store(buffer);
}

#else

namespace {
bool HoldsMemory(Napi::Env) { return false; }
}  // namespace

std::shared_ptr<void> HoldMemory(const Napi::Object&) { return nullptr; }

#endif

namespace {

// holdsMemory(): boolean
Napi::Value Holds(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), HoldsMemory(info.Env()));
}

}  // namespace

void InitHeldMemory(Napi::Env env, Napi::Object exports) {
  exports.Set("holdsMemory", Napi::Function::New(env, Holds));
}

}  // namespace longvlm
