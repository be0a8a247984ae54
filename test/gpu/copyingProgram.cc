// With DRIVER defined, a CUDA driver that only copies; else a program that finds its functions as
// CUDA's runtime does, and copies. Exit code 0 if each call reached the function that was asked
// for.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

#if defined(DRIVER)

namespace {
constexpr int kOfProcess = 0, kOfThread = 7;
}

extern "C" {
int cuPointerGetAttribute(unsigned* type, int, uint64_t address) {
  // Addresses of the "device" are even, of the host odd.
  if (address % 2 != 0) return 1;
  *type = 2;
  return 0;
}
int cuMemcpyHtoDAsync_v2(uint64_t, const void*, size_t, void*) { return kOfProcess; }
int cuMemcpyHtoDAsync_v2_ptsz(uint64_t, const void*, size_t, void*) { return kOfThread; }
int cuMemcpyDtoH_v2(void*, uint64_t, size_t) { return kOfProcess; }
int cuMemcpyDtoD_v2(uint64_t, uint64_t, size_t) { return kOfProcess; }
int cuMemcpyAsync(uint64_t, uint64_t, size_t, void*) { return kOfProcess; }
int cuMemcpy2DAsync_v2(const void*, void*) { return kOfProcess; }
int cuInit(unsigned) { return 5; }

int cuGetProcAddress(const char* name, void** function, int version, uint64_t flags);
int cuGetProcAddress_v2(const char* name, void** function, int version, uint64_t flags, int*) {
  const struct {
    const char* name;
    uint64_t flags;
    void* function;
  } all[] = {
      {"cuMemcpyHtoDAsync", 0, reinterpret_cast<void*>(&cuMemcpyHtoDAsync_v2)},
      {"cuMemcpyHtoDAsync", 2, reinterpret_cast<void*>(&cuMemcpyHtoDAsync_v2_ptsz)},
      {"cuMemcpyDtoH", 0, reinterpret_cast<void*>(&cuMemcpyDtoH_v2)},
      {"cuMemcpyAsync", 0, reinterpret_cast<void*>(&cuMemcpyAsync)},
      {"cuMemcpy2DAsync", 0, reinterpret_cast<void*>(&cuMemcpy2DAsync_v2)},
      {"cuInit", 0, reinterpret_cast<void*>(&cuInit)},
  };
  if (std::strcmp(name, "cuGetProcAddress") == 0) {
    *function = version < 12000 ? reinterpret_cast<void*>(&cuGetProcAddress)
                                : reinterpret_cast<void*>(&cuGetProcAddress_v2);
    return 0;
  }
  for (const auto& one : all) {
    if (std::strcmp(name, one.name) != 0 || flags != one.flags) continue;
    *function = one.function;
    return 0;
  }
  return 500;
}
int cuGetProcAddress(const char* name, void** function, int version, uint64_t flags) {
  return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}
}

#else

namespace {

int failures = 0;
void Expect(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  ++failures;
}

template <typename Function, typename Get, typename... Rest>
Function Ask(Get get, const char* name, int version, uint64_t flags, Rest... rest) {
  void* address = nullptr;
  Expect(get(name, &address, version, flags, rest...) == 0, name);
  return reinterpret_cast<Function>(address);
}

}  // namespace

int main() {
  using GetV1 = int (*)(const char*, void**, int, uint64_t);
  using GetV2 = int (*)(const char*, void**, int, uint64_t, int*);
  using Up = int (*)(uint64_t, const void*, size_t, void*);
  using Down = int (*)(void*, uint64_t, size_t);
  using Across = int (*)(uint64_t, uint64_t, size_t);
  using Any = int (*)(uint64_t, uint64_t, size_t, void*);
  using Flat = int (*)(const void*, void*);
  void* const driver = dlopen("libcuda.so.1", RTLD_NOW);
  if (driver == nullptr) return 9;
  int found = 0;
  const auto first = reinterpret_cast<GetV2>(dlsym(driver, "cuGetProcAddress_v2"));
  const auto v1 = Ask<GetV1>(first, "cuGetProcAddress", 11030, 0, &found);
  const auto v2 = Ask<GetV2>(first, "cuGetProcAddress", 12000, 0, &found);
  Expect(Ask<Up>(v2, "cuMemcpyHtoDAsync", 3020, 0, &found)(2, nullptr, 100, nullptr) == 0, "up");
  Expect(Ask<Up>(v2, "cuMemcpyHtoDAsync", 7000, 2, &found)(2, nullptr, 101, nullptr) == 7,
         "up, on the stream of a thread");
  Expect(Ask<Down>(v1, "cuMemcpyDtoH", 3020, 0)(nullptr, 2, 102) == 0, "down");
  const auto any = Ask<Any>(v2, "cuMemcpyAsync", 4000, 0, &found);
  Expect(any(2, 1, 103, nullptr) == 0 && any(1, 2, 104, nullptr) == 0 &&
             any(2, 2, 105, nullptr) == 0 && any(1, 1, 106, nullptr) == 0,
         "any way");
  Expect(Ask<Flat>(v2, "cuMemcpy2DAsync", 3020, 0, &found)(nullptr, nullptr) == 0, "a rectangle");
  const auto across = reinterpret_cast<Across>(dlsym(driver, "cuMemcpyDtoD_v2"));
  Expect(across(2, 4, 107) == 0, "across");
  Expect(Ask<int (*)(unsigned)>(v2, "cuInit", 2000, 0, &found)(0) == 5, "another function");
  Expect(dlsym(driver, "cuNothing") == nullptr, "a function that is not there");
  Expect(dlsym(RTLD_DEFAULT, "strlen") != nullptr, "a function of another library");
  void* nothing = nullptr;
  Expect(v2("cuNothing", &nothing, 12000, 0, &found) == 500, "an error of the driver");
  return failures;
}

#endif
