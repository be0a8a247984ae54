// Loaded before all others (LD_PRELOAD), writes down who copies how much memory, and who asks for
// how much, when. See count.mjs.
//
// Counted are calls of memcpy, memmove and mempcpy, and of their checked forms, and of malloc() and
// its kin, of at least LONGVLM_COPIES_FROM bytes. A loop that copies is no call; what it copies to,
// if it is new, is. Lines of LONGVLM_COPIES: copy or memory, nanoseconds of the monotonic clock,
// bytes, library, function (a dash where it has no name that others see).
#include <dlfcn.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <unordered_map>

namespace {

struct Call {
  bool copies;
  std::uint64_t nanoseconds;
  std::size_t bytes;
  void* caller;
};

constexpr std::size_t kMost = 1 << 20;
Call calls[kMost];
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

inline void Note(bool copies, std::size_t bytes, void* caller) {
  if (least == 0 || bytes < least) return;
  const std::size_t place = count.fetch_add(1, std::memory_order_relaxed);
  if (place >= kMost) return;
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  calls[place] = {copies, static_cast<std::uint64_t>(now.tv_sec) * 1000000000ULL + now.tv_nsec,
                  bytes, caller};
}

__attribute__((destructor)) void End() {
  least = 0;
  std::FILE* file = path[0] == '\0' ? nullptr : std::fopen(path, "w");
  if (file == nullptr) return;
  const std::size_t seen = count.load();
  if (seen > kMost) std::fprintf(file, "lost %zu\n", seen - kMost);
  // As finding a name takes a millisecond.
  std::unordered_map<void*, Dl_info> callers;
  for (std::size_t i = 0; i < seen && i < kMost; ++i) {
    const Call& call = calls[i];
    const auto [caller, is_new] = callers.try_emplace(call.caller, Dl_info{});
    Dl_info& at = caller->second;
    if (is_new) dladdr(call.caller, &at);
    std::fprintf(file, "%s %llu %zu %s %s\n", call.copies ? "copy" : "memory",
                 static_cast<unsigned long long>(call.nanoseconds), call.bytes,
                 at.dli_fname != nullptr ? at.dli_fname : "?",
                 at.dli_sname != nullptr ? at.dli_sname : "-");
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

// The C library's own, by the names under which they stay.
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* old, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);

void* malloc(std::size_t bytes) noexcept {
  Note(false, bytes, __builtin_return_address(0));
  return __libc_malloc(bytes);
}

void* calloc(std::size_t items, std::size_t bytes) noexcept {
  Note(false, items * bytes, __builtin_return_address(0));
  return __libc_calloc(items, bytes);
}

void* realloc(void* old, std::size_t bytes) noexcept {
  Note(false, bytes, __builtin_return_address(0));
  return __libc_realloc(old, bytes);
}

void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
  Note(false, bytes, __builtin_return_address(0));
  return __libc_memalign(alignment, bytes);
}

void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  Note(false, bytes, __builtin_return_address(0));
  return __libc_memalign(alignment, bytes);
}

int posix_memalign(void** out, std::size_t alignment, std::size_t bytes) noexcept {
  Note(false, bytes, __builtin_return_address(0));
  *out = __libc_memalign(alignment, bytes);
  return *out == nullptr ? ENOMEM : 0;
}

// Who asks for memory with new, which libstdc++ would ask for otherwise.
void* _Znwm(std::size_t bytes) {
  Note(false, bytes, __builtin_return_address(0));
  if (void* found = __libc_malloc(bytes == 0 ? 1 : bytes)) return found;
  std::abort();
}

void* _Znam(std::size_t bytes) {
  Note(false, bytes, __builtin_return_address(0));
  if (void* found = __libc_malloc(bytes == 0 ? 1 : bytes)) return found;
  std::abort();
}

void* memcpy(void* to, const void* from, std::size_t bytes) {
  Note(true, bytes, __builtin_return_address(0));
  Forward(to, from, bytes);
  return to;
}

void* memmove(void* to, const void* from, std::size_t bytes) {
  Note(true, bytes, __builtin_return_address(0));
  Move(to, from, bytes);
  return to;
}

void* mempcpy(void* to, const void* from, std::size_t bytes) {
  Note(true, bytes, __builtin_return_address(0));
  Forward(to, from, bytes);
  return static_cast<char*>(to) + bytes;
}

void* __memcpy_chk(void* to, const void* from, std::size_t bytes, std::size_t) {
  Note(true, bytes, __builtin_return_address(0));
  Forward(to, from, bytes);
  return to;
}

void* __memmove_chk(void* to, const void* from, std::size_t bytes, std::size_t) {
  Note(true, bytes, __builtin_return_address(0));
  Move(to, from, bytes);
  return to;
}

}  // extern "C"
