#include "core/cuda_library.h"

#include <map>
#include <mutex>
#include <type_traits>

#include "core/error.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace longvlm {
namespace {

constexpr const char* kCode = "ERR_LONGVLM_CUDA";

#if defined(_WIN32)
using Library = HMODULE;
Library Load(const char* path) { return LoadLibraryA(path); }
void* Find(Library library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(library, name));
}
std::string LoadError() { return "Windows error " + std::to_string(GetLastError()); }
constexpr const char* kDriver = "nvcuda.dll";
#else
using Library = void*;
Library Load(const char* path) { return dlopen(path, RTLD_NOW | RTLD_LOCAL); }
void* Find(Library library, const char* name) { return dlsym(library, name); }
std::string LoadError() { return dlerror(); }
constexpr const char* kDriver = "libcuda.so.1";
#endif

CudaFunctions Open(const std::string& path) {
  const Library library = Load(path.c_str());
  if (library == nullptr) {
    throw Error(kCode, "The GPU kernels cannot be loaded: " + LoadError());
  }
  CudaFunctions cuda;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(Find(library, name));
    if (function == nullptr) {
      throw Error(kCode, "The GPU kernels in " + path + " have no " + name +
                             ". Build them again: npm run build:cuda");
    }
  };
  find(cuda.abi_version, "lv_abi_version");
  if (cuda.abi_version() != LV_ABI_VERSION) {
    throw Error(kCode, "The GPU kernels in " + path + " are of version " +
                           std::to_string(cuda.abi_version()) + ", and version " +
                           std::to_string(LV_ABI_VERSION) +
                           " is needed. Build them again: npm run build:cuda");
  }
#define LONGVLM_CUDA_FIND(name) find(cuda.name, "lv_" #name);
  LONGVLM_CUDA_FUNCTIONS(LONGVLM_CUDA_FIND)
#undef LONGVLM_CUDA_FIND
  return cuda;
}

}  // namespace

const CudaFunctions& OpenCudaLibrary(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, CudaFunctions> opened;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = opened.find(path);
  return found != opened.end() ? found->second : opened.emplace(path, Open(path)).first->second;
}

bool HasCudaDriver() {
  static const bool has = Load(kDriver) != nullptr;
  return has;
}

void CheckCuda(const CudaFunctions& cuda, lv_status status) {
  if (status == LV_OK) return;
  const std::string reason = cuda.last_error();
  if (status == LV_ERROR_OUT_OF_MEMORY) {
    throw Error("ERR_LONGVLM_CUDA_OOM",
                "The GPU has not enough memory. Dispose what is not needed, or merge fewer "
                "segments at once. (" +
                    reason + ")");
  }
  throw Error(kCode, "The GPU failed: " + reason);
}

}  // namespace longvlm
