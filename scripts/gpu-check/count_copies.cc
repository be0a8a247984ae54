// Counts the bytes that CUDA copies, whichever library asks for it: to be preloaded (LD_PRELOAD).
//
// Each copy adds a line to the file that LONGVLM_COPIES names at that moment: `up`, `down` or
// `across`, the bytes, and the driver's function; `other 0` where the bytes are not known.
//
// The CUDA runtime, linked statically into most libraries, asks dlsym() for cuGetProcAddress(), and
// that for the driver's functions. So both are replaced, and answer with functions that count.
#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace {

using Result = int;
using Device = uint64_t;  // an address of the device
using Stream = void*;
using Context = void*;

using Find = void* (*)(void*, const char*);
Find TheRealDlsym() {
  static void* const found = [] {
    for (const char* version : {"GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_2.17"}) {
      if (void* const address = dlvsym(RTLD_NEXT, "dlsym", version)) return address;
    }
    std::abort();
  }();
  return reinterpret_cast<Find>(found);
}

void Count(const char* way, size_t bytes, const char* name) {
  const char* const path = std::getenv("LONGVLM_COPIES");
  std::FILE* const file = path == nullptr ? nullptr : std::fopen(path, "a");
  if (file == nullptr) return;
  std::fprintf(file, "%s %zu %s\n", way, bytes, name);
  std::fclose(file);
}

bool IsOnDevice(Device address) {
  using GetAttribute = Result (*)(void*, int attribute, Device);
  static const auto get = reinterpret_cast<GetAttribute>(
      TheRealDlsym()(dlopen("libcuda.so.1", RTLD_NOW), "cuPointerGetAttribute"));
  constexpr int kMemoryType = 2;
  constexpr unsigned kDeviceMemory = 2;
  unsigned type = 0;
  return get != nullptr && get(&type, kMemoryType, address) == 0 && type == kDeviceMemory;
}

const char* WayOf(Device to, Device from) {
  if (IsOnDevice(to)) return IsOnDevice(from) ? "across" : "up";
  return IsOnDevice(from) ? "down" : "host";
}

// name, way, bytes, parameters, arguments
#define COPIES(X)                                                                                \
  X(cuMemcpy, WayOf(to, from), n, (Device to, Device from, size_t n), (to, from, n))             \
  X(cuMemcpyAsync, WayOf(to, from), n, (Device to, Device from, size_t n, Stream s),             \
    (to, from, n, s))                                                                            \
  X(cuMemcpyHtoD, "up", n, (Device to, const void* from, size_t n), (to, from, n))               \
  X(cuMemcpyHtoDAsync, "up", n, (Device to, const void* from, size_t n, Stream s),               \
    (to, from, n, s))                                                                            \
  X(cuMemcpyDtoH, "down", n, (void* to, Device from, size_t n), (to, from, n))                   \
  X(cuMemcpyDtoHAsync, "down", n, (void* to, Device from, size_t n, Stream s), (to, from, n, s)) \
  X(cuMemcpyDtoD, "across", n, (Device to, Device from, size_t n), (to, from, n))                \
  X(cuMemcpyDtoDAsync, "across", n, (Device to, Device from, size_t n, Stream s),                \
    (to, from, n, s))                                                                            \
  X(cuMemcpyPeer, "across", n, (Device to, Context c, Device from, Context d, size_t n),         \
    (to, c, from, d, n))                                                                         \
  X(cuMemcpyPeerAsync, "across", n,                                                              \
    (Device to, Context c, Device from, Context d, size_t n, Stream s), (to, c, from, d, n, s))  \
  X(cuMemcpy2D, "other", 0, (const void* copy), (copy))                                          \
  X(cuMemcpy2DUnaligned, "other", 0, (const void* copy), (copy))                                 \
  X(cuMemcpy2DAsync, "other", 0, (const void* copy, Stream s), (copy, s))                        \
  X(cuMemcpy3D, "other", 0, (const void* copy), (copy))                                          \
  X(cuMemcpy3DAsync, "other", 0, (const void* copy, Stream s), (copy, s))                        \
  X(cuMemcpy3DPeer, "other", 0, (const void* copy), (copy))                                      \
  X(cuMemcpy3DPeerAsync, "other", 0, (const void* copy, Stream s), (copy, s))

// Each function of the driver exists twice: [0] is over the default stream of the process, [1] over
// that of the thread.
#define DEFINE(name, way, bytes, parameters, arguments) \
  Result(*name##_real[2]) parameters;                   \
  template <int kind>                                   \
  Result name##_counting parameters {                   \
    Count(way, bytes, #name);                           \
    return name##_real[kind] arguments;                 \
  }
COPIES(DEFINE)

struct Copy {
  const char* name;
  void* counting[2];
  void** real;
};
#define ENTRY(name, way, bytes, parameters, arguments)                                           \
  {#name,                                                                                        \
   {reinterpret_cast<void*>(&name##_counting<0>), reinterpret_cast<void*>(&name##_counting<1>)}, \
   reinterpret_cast<void**>(name##_real)},
const Copy copies[] = {COPIES(ENTRY)};

// What counts instead of `real`, the driver's function of that name; else `real` itself.
void* Counting(const char* name, bool of_thread, void* real) {
  char base[64];
  if (real == nullptr || std::strlen(name) >= sizeof(base)) return real;
  std::strcpy(base, name);
  for (char* end; (end = std::strrchr(base, '_')) != nullptr; *end = '\0') {
    of_thread = of_thread || std::strcmp(end, "_ptsz") == 0 || std::strcmp(end, "_ptds") == 0;
  }
  for (const Copy& copy : copies) {
    if (std::strcmp(base, copy.name) != 0) continue;
    copy.real[of_thread ? 1 : 0] = real;
    return copy.counting[of_thread ? 1 : 0];
  }
  return real;
}

using GetAddress = Result (*)(const char*, void**, int version, uint64_t flags);
using GetAddressV2 = Result (*)(const char*, void**, int version, uint64_t flags, int* found);
GetAddress get_address;
GetAddressV2 get_address_v2;

// What stands for a function of the driver's interface of that version.
void* Replacing(const char* name, int version, uint64_t flags, void* real);

Result CountingGetAddress(const char* name, void** function, int version, uint64_t flags) {
  const Result result = get_address(name, function, version, flags);
  if (result == 0) *function = Replacing(name, version, flags, *function);
  return result;
}

Result CountingGetAddressV2(const char* name, void** function, int version, uint64_t flags,
                            int* found) {
  const Result result = get_address_v2(name, function, version, flags, found);
  if (result == 0) *function = Replacing(name, version, flags, *function);
  return result;
}

void* Replacing(const char* name, int version, uint64_t flags, void* real) {
  constexpr uint64_t kOfThread = 2;
  if (real == nullptr || std::strcmp(name, "cuGetProcAddress") != 0) {
    return Counting(name, (flags & kOfThread) != 0, real);
  }
  constexpr int kSinceV2 = 12000;
  if (version < kSinceV2) {
    get_address = reinterpret_cast<GetAddress>(real);
    return reinterpret_cast<void*>(&CountingGetAddress);
  }
  get_address_v2 = reinterpret_cast<GetAddressV2>(real);
  return reinterpret_cast<void*>(&CountingGetAddressV2);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void* dlsym(void* library,
                                                              const char* name) noexcept {
  // A call at the very end is a jump, after which RTLD_NEXT means what it means to the caller.
  if (std::strncmp(name, "cu", 2) != 0) return TheRealDlsym()(library, name);
  void* const real = TheRealDlsym()(library, name);
  constexpr int kAny = 12000;
  const bool is_v2 = std::strcmp(name, "cuGetProcAddress_v2") == 0;
  if (is_v2) return Replacing("cuGetProcAddress", kAny, 0, real);
  return Replacing(name, 0, 0, real);
}
