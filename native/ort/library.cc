#include "ort/library.h"

#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "core/error.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace longvlm::ort {
namespace {

constexpr const char* kCode = "ERR_LONGVLM_UNSUPPORTED";
constexpr const char* kTelemetryOff = "ORT_DISABLE_TELEMETRY";

#if defined(_WIN32)
std::wstring Wide(const std::string& text) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, text.c_str(), -1, nullptr, 0);
  std::wstring wide(static_cast<size_t>(length), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, text.c_str(), -1, wide.data(), length);
  return wide;
}
// Its own folder is searched for what it needs.
void* LoadFile(const std::string& path) {
  return LoadLibraryExW(Wide(path).c_str(), nullptr,
                        LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS);
}
void* FindIn(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}
std::string LoadError() { return "Windows error " + std::to_string(GetLastError()); }
void TurnTelemetryOff() { _putenv_s(kTelemetryOff, "1"); }
#else
void* LoadFile(const std::string& path) { return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL); }
void* FindIn(void* library, const char* name) { return dlsym(library, name); }
std::string LoadError() { return dlerror(); }
void TurnTelemetryOff() { setenv(kTelemetryOff, "1", 1); }
#endif

Library::Exports Load(const std::string& path) {
  void* const library = LoadFile(path);
  if (library == nullptr) throw Error(kCode, "ONNX Runtime cannot be loaded: " + LoadError());
  return [library](const char* name) { return FindIn(library, name); };
}

}  // namespace

const Library& Library::Open(const std::string& path) {
  static std::mutex mutex;
  // Not destroyed at exit, when threads may still use it.
  static auto& opened = *new std::map<std::string, std::unique_ptr<Library>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<Library>& library = opened[path];
  if (library == nullptr) library = std::make_unique<Library>(Load(path), path);
  return *library;
}

Library::Library(Exports exports, const std::string& path) : exports_(std::move(exports)) {
  const auto get_base = reinterpret_cast<const ApiBase* (*)()>(Find("OrtGetApiBase"));
  if (get_base == nullptr) throw Error(kCode, path + " is not ONNX Runtime's library");
  const ApiBase* base = get_base();
  version_ = base->get_version();
  const void* const* table = base->get_api(kApiVersion);
  if (table == nullptr) {
    throw Error(kCode, "ONNX Runtime " + version_ + " in " + path + " is too old: 1." +
                           std::to_string(kApiVersion) + " or newer is needed");
  }
#define LONGVLM_ORT_FIND(name, position, ...) \
  api_.name = reinterpret_cast<Api::name##Type>(const_cast<void*>(table[position]));
  LONGVLM_ORT_API(LONGVLM_ORT_FIND)
#undef LONGVLM_ORT_FIND
  TurnTelemetryOff();
  Check(api_.CreateEnv(kLogFatal, "longvlm", &environment_));
  // In case something else in the process has created the environment before.
  Check(api_.DisableTelemetryEvents(environment_));
}

std::vector<std::string> Library::Providers() const {
  char** names = nullptr;
  int count = 0;
  Check(api_.GetAvailableProviders(&names, &count));
  std::vector<std::string> providers(names, names + count);
  Check(api_.ReleaseAvailableProviders(names, count));
  return providers;
}

void Library::Check(OrtStatus* status) const {
  if (status == nullptr) return;
  const std::string message = api_.GetErrorMessage(status);
  api_.ReleaseStatus(status);
  throw Error("ERR_LONGVLM_INFERENCE", message);
}

void Library::Ignore(OrtStatus* status) const {
  if (status != nullptr) api_.ReleaseStatus(status);
}

}  // namespace longvlm::ort
