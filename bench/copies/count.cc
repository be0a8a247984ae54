// Loaded before all others (LD_PRELOAD), writes down which library copies how much memory, when.
// See count.mjs.
//
// Counted are calls of memcpy, memmove and mempcpy, and of their checked forms, of at least
// LONGVLM_COPIES_FROM bytes; a loop that a compiler has written out is not seen. Lines of
// LONGVLM_COPIES: nanoseconds of the monotonic clock, bytes, library.
#include <dlfcn.h>
#include <time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

struct Copy {
  std::uint64_t nanoseconds;
  std::size_t bytes;
  void* caller;
};

constexpr std::size_t kMost = 1 << 20;
Copy copies[kMost];
std::atomic<std::size_t> count{0};
std::size_t least = 0;
char path[4096];

__attribute__((constructor)) void Begin() {
  // Kept here, as the process takes both from its environment, so that its children are not
  // counted.
  const char* given = std::getenv("LONGVLM_COPIES");
  if (given != nullptr) std::snprintf(path, sizeof(path), "%s", given);
  const char* from = std::getenv("LONGVLM_COPIES_FROM");
  least = from == nullptr ? 4096 : std::strtoul(from, nullptr, 10);
}

inline void Note(std::size_t bytes, void* caller) {
  if (least == 0 || bytes < least) return;
  const std::size_t place = count.fetch_add(1, std::memory_order_relaxed);
  if (place >= kMost) return;
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  copies[place] = {static_cast<std::uint64_t>(now.tv_sec) * 1000000000ULL + now.tv_nsec, bytes,
                   caller};
}

__attribute__((destructor)) void End() {
  std::FILE* file = path[0] == '\0' ? nullptr : std::fopen(path, "w");
  if (file == nullptr) return;
  const std::size_t seen = count.load();
  if (seen > kMost) std::fprintf(file, "lost %zu\n", seen - kMost);
  for (std::size_t i = 0; i < seen && i < kMost; ++i) {
    Dl_info library;
    const bool known = dladdr(copies[i].caller, &library) != 0;
    std::fprintf(file, "%llu %zu %s\n", static_cast<unsigned long long>(copies[i].nanoseconds),
                 copies[i].bytes, known ? library.dli_fname : "?");
  }
  std::fclose(file);
}

// Written so that no compiler makes a call of memcpy of it.
inline void Forward(void* to, const void* from, std::size_t bytes) {
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

inline void Backward(void* to, const void* from, std::size_t bytes) {
  auto* last_to = static_cast<char*>(to) + bytes - 1;
  auto* last_from = static_cast<const char*>(from) + bytes - 1;
  asm volatile("std; rep movsb; cld" : "+D"(last_to), "+S"(last_from), "+c"(bytes) : : "memory");
}

inline void Move(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0 || to == from) return;
  if (reinterpret_cast<std::uintptr_t>(to) - reinterpret_cast<std::uintptr_t>(from) >= bytes) {
    Forward(to, from, bytes);
  } else {
    Backward(to, from, bytes);
  }
}

}  // namespace

extern "C" {

void* memcpy(void* to, const void* from, std::size_t bytes) {
  Note(bytes, __builtin_return_address(0));
  Forward(to, from, bytes);
  return to;
}

void* memmove(void* to, const void* from, std::size_t bytes) {
  Note(bytes, __builtin_return_address(0));
  Move(to, from, bytes);
  return to;
}

void* mempcpy(void* to, const void* from, std::size_t bytes) {
  Note(bytes, __builtin_return_address(0));
  Forward(to, from, bytes);
  return static_cast<char*>(to) + bytes;
}

void* __memcpy_chk(void* to, const void* from, std::size_t bytes, std::size_t) {
  Note(bytes, __builtin_return_address(0));
  Forward(to, from, bytes);
  return to;
}

void* __memmove_chk(void* to, const void* from, std::size_t bytes, std::size_t) {
  Note(bytes, __builtin_return_address(0));
  Move(to, from, bytes);
  return to;
}

}  // extern "C"
