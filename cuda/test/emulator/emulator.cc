// Runs grids on the CPU, see cuda_runtime.h.
//
// LONGVLM_EMULATOR_SEED  the order of threads and blocks; 1 by default
// LONGVLM_EMULATOR_THREADS  threads of the process for the blocks of a grid; 2 by default
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "cuda_runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {

namespace {

constexpr unsigned kWarp = 32;
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 * 1024;
#else
constexpr size_t kStackBytes = 64 * 1024;
#endif

[[noreturn]] void Die(const std::string& message) {
  std::fprintf(stderr, "CUDA emulator: %s\n", message.c_str());
  std::abort();
}

uint64_t EnvironmentNumber(const char* name, uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

// The stack pointer and the registers that a call preserves; the rest is the caller's to save.
#if defined(__x86_64__)
extern "C" void lv_emulator_switch(void** save_stack, void* load_stack);
asm(R"(
.text
.globl lv_emulator_switch
.hidden lv_emulator_switch
.type lv_emulator_switch, @function
lv_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size lv_emulator_switch, .-lv_emulator_switch
)");
struct Context {
  void* stack = nullptr;
  void Prepare(char* memory, void (*entry)()) {
    auto top = reinterpret_cast<uintptr_t>(memory + kStackBytes) & ~uintptr_t{15};
    // As if `entry` had been called: its return address lies at 8 modulo 16.
    void** frame = reinterpret_cast<void**>(top) - 2;
    *frame = reinterpret_cast<void*>(entry);
    frame -= 6;
    std::fill_n(frame, 6, nullptr);
    stack = frame;
  }
  static void Switch(Context& from, Context& to) { lv_emulator_switch(&from.stack, to.stack); }
};
#else
struct Context {
  ucontext_t context;
  void Prepare(char* memory, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = memory;
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
  }
  static void Switch(Context& from, Context& to) { swapcontext(&from.context, &to.context); }
};
#endif

enum class State { kReady, kAtBlockBarrier, kAtWarpBarrier, kDone };

struct Fiber {
  Context context;
  State state;
  int line;
  unsigned exchanges;
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
#endif
};

struct Warp {
  // Two, in turn: a fast lane may be at the next exchange while a slow one still reads.
  uint64_t values[2][kWarp];
};

// Heap memory that AddressSanitizer watches, filled with NaN.
std::unique_ptr<unsigned char[]> NewMemory(size_t bytes) {
  auto memory = std::make_unique_for_overwrite<unsigned char[]>(bytes);
  std::memset(memory.get(), 0xff, bytes);
  return memory;
}

// What runs the blocks that one thread of the process takes.
class BlockRunner {
 public:
  void RunBlock(const std::function<void()>& kernel, dim3 grid, dim3 block_dim, unsigned block,
                size_t shared_bytes, uint64_t seed);
  void* Shared(const void* name, size_t bytes);
  void* Dynamic() { return dynamic_.get(); }
  void WaitAt(State state, int line);
  const uint64_t* Exchange(unsigned mask, uint64_t value, int line);
  unsigned running() const { return running_; }

 private:
  static void Enter();
  void Resume(unsigned fiber);
  void Yield(bool last);
  bool ReleaseWarps();
  void ReleaseBlock();
  [[noreturn]] void Stuck(const char* what) const;

  const std::function<void()>* kernel_ = nullptr;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  std::vector<std::unique_ptr<char[]>> stacks_;
  std::vector<std::pair<const void*, std::unique_ptr<unsigned char[]>>> shared_;
  std::unique_ptr<unsigned char[]> dynamic_;
  Context scheduler_;
  unsigned count_ = 0;
  unsigned running_ = 0;
#if defined(__SANITIZE_ADDRESS__)
  const void* own_stack_ = nullptr;
  size_t own_stack_bytes_ = 0;
  void* own_fake_stack_ = nullptr;
#endif
};

thread_local BlockRunner* runner = nullptr;

void BlockRunner::Enter() {
  BlockRunner& self = *runner;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &self.own_stack_, &self.own_stack_bytes_);
#endif
  try {
    (*self.kernel_)();
  } catch (...) {
    Die("an exception left a kernel");
  }
  self.fibers_[self.running_].state = State::kDone;
  self.Yield(true);
  Die("a thread went on after its end");
}

void BlockRunner::Resume(unsigned index) {
  Fiber& fiber = fibers_[index];
  running_ = index;
  threadIdx = dim3(index, 0, 0);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&own_fake_stack_, stacks_[index].get(), kStackBytes);
#endif
  Context::Switch(scheduler_, fiber.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(own_fake_stack_, nullptr, nullptr);
#endif
}

void BlockRunner::Yield(bool last) {
  Fiber& fiber = fibers_[running_];
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(last ? nullptr : &fiber.fake_stack, own_stack_, own_stack_bytes_);
#else
  (void)last;
#endif
  Context::Switch(fiber.context, scheduler_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &own_stack_, &own_stack_bytes_);
#endif
}

void BlockRunner::WaitAt(State state, int line) {
  Fiber& fiber = fibers_[running_];
  fiber.state = state;
  fiber.line = line;
  Yield(false);
}

const uint64_t* BlockRunner::Exchange(unsigned mask, uint64_t value, int line) {
  if (mask != 0xffffffffu) Die("a warp operation with a part of the lanes");
  Warp& warp = warps_[running_ / kWarp];
  const unsigned turn = fibers_[running_].exchanges++ % 2;
  warp.values[turn][running_ % kWarp] = value;
  WaitAt(State::kAtWarpBarrier, line);
  return warp.values[turn];
}

void BlockRunner::Stuck(const char* what) const {
  std::string message = what;
  for (unsigned i = 0; i < count_; i += 1) {
    const Fiber& fiber = fibers_[i];
    if (i > 0 && fibers_[i - 1].state == fiber.state && fibers_[i - 1].line == fiber.line) continue;
    const char* const where = fiber.state == State::kDone             ? "has ended"
                              : fiber.state == State::kAtBlockBarrier ? "waits for the block"
                                                                      : "waits for its warp";
    message += "\n  from thread " + std::to_string(i) + " on: " + where + ", line " +
               std::to_string(fiber.line);
  }
  Die(message);
}

bool BlockRunner::ReleaseWarps() {
  bool released = false;
  for (unsigned first = 0; first < count_; first += kWarp) {
    const unsigned last = std::min(first + kWarp, count_);
    bool all = last - first == kWarp;
    for (unsigned i = first; i < last; ++i) {
      all = all && fibers_[i].state == State::kAtWarpBarrier &&
            fibers_[i].line == fibers_[first].line;
    }
    if (!all) continue;
    released = true;
    for (unsigned i = first; i < last; ++i) fibers_[i].state = State::kReady;
  }
  return released;
}

void BlockRunner::ReleaseBlock() {
  for (unsigned i = 0; i < count_; ++i) {
    if (fibers_[i].state != State::kAtBlockBarrier) Stuck("not all threads reach one barrier");
    if (fibers_[i].line != fibers_[0].line) Stuck("threads wait at different barriers");
  }
  for (unsigned i = 0; i < count_; ++i) fibers_[i].state = State::kReady;
}

void BlockRunner::RunBlock(const std::function<void()>& kernel, dim3 grid, dim3 block_dim,
                           unsigned block, size_t shared_bytes, uint64_t seed) {
  kernel_ = &kernel;
  blockIdx = dim3(block, 0, 0);
  blockDim = block_dim;
  gridDim = grid;
  count_ = block_dim.x;
  runner = this;
  shared_.clear();
  dynamic_ = NewMemory(shared_bytes);
  while (stacks_.size() < count_) {
    stacks_.push_back(std::make_unique_for_overwrite<char[]>(kStackBytes));
  }
  if (fibers_.size() < count_) fibers_.resize(count_);
  warps_.resize((count_ + kWarp - 1) / kWarp);
  for (unsigned i = 0; i < count_; ++i) {
    Fiber& fiber = fibers_[i];
    fiber.state = State::kReady;
    fiber.line = 0;
    fiber.exchanges = 0;
#if defined(__SANITIZE_ADDRESS__)
    // The fiber before never returned from its last frames.
    __asan_unpoison_memory_region(stacks_[i].get(), kStackBytes);
#endif
    fiber.context.Prepare(stacks_[i].get(), &BlockRunner::Enter);
  }
  std::vector<unsigned> order(count_);
  for (unsigned i = 0; i < count_; ++i) order[i] = i;
  for (uint64_t round = 0;; ++round) {
    // Any lane of any warp first: a random start and direction, and now and then a full shuffle.
    seed = Mix(seed + round);
    if (round % 8 == 0) {
      for (unsigned i = count_ - 1; i > 0; --i) {
        seed = Mix(seed + i);
        std::swap(order[i], order[seed % (i + 1)]);
      }
    }
    const unsigned start = static_cast<unsigned>(seed % count_);
    bool ran = false;
    bool left = false;
    for (unsigned i = 0; i < count_; ++i) {
      const unsigned index = order[(start + i) % count_];
      if (fibers_[index].state == State::kReady) {
        Resume(index);
        ran = true;
      }
      left = left || fibers_[index].state != State::kDone;
    }
    if (!left) break;
    if (!ReleaseWarps()) {
      if (!ran) Stuck("no thread can go on");
      ReleaseBlock();
    }
  }
}

void* BlockRunner::Shared(const void* name, size_t bytes) {
  for (const auto& [of, memory] : shared_) {
    if (of == name) return memory.get();
  }
  shared_.emplace_back(name, NewMemory(bytes));
  return shared_.back().second.get();
}

}  // namespace

void* SharedMemory(const void* name, size_t bytes) { return runner->Shared(name, bytes); }
void* DynamicSharedMemory() { return runner->Dynamic(); }
void SyncThreads(int line) { runner->WaitAt(State::kAtBlockBarrier, line); }
const uint64_t* Exchange(unsigned mask, uint64_t value, int line) {
  return runner->Exchange(mask, value, line);
}
unsigned Lane() { return runner->running() % kWarp; }
unsigned Ballot(unsigned mask, bool vote, int line) {
  const uint64_t* const votes = Exchange(mask, vote ? 1 : 0, line);
  unsigned bits = 0;
  for (unsigned i = 0; i < kWarp; ++i) bits |= static_cast<unsigned>(votes[i]) << i;
  return bits;
}

namespace {

float HalfOf(uint64_t bits, unsigned which) {
  const auto half = static_cast<uint16_t>(bits >> 16 * which);
  return static_cast<float>(FromBits<_Float16>(half));
}

// Towards 0, to a multiple of `unit`.
double Truncate(double value, double unit) { return std::trunc(value / unit) * unit; }

}  // namespace

void MmaF16(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int line) {
  const unsigned row = Lane() / 4;
  const unsigned column = Lane() % 4 * 2;
  const auto both = [](uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; };
  // What lanes give must be copied before the next exchange but one. [k / 8] of rows g and g + 8.
  uint64_t of_a[2][4], of_b[2][4];
  for (unsigned half = 0; half < 2; ++half) {
    const uint64_t* const given = Exchange(~0u, both(a[2 * half], a[2 * half + 1]), line);
    for (unsigned t = 0; t < 4; ++t) of_a[half][t] = given[row * 4 + t];
  }
  const uint64_t* const given = Exchange(~0u, both(b[0], b[1]), line);
  for (unsigned j = 0; j < 2; ++j) {
    for (unsigned t = 0; t < 4; ++t) of_b[j][t] = given[(column + j) * 4 + t];
  }
  for (unsigned i = 0; i < 4; ++i) {
    double total = static_cast<double>(sum[i]);
    for (unsigned k = 0; k < 16; k += 4) {
      double addend[5] = {total};
      double largest = std::fabs(total);
      for (unsigned l = k; l < k + 4; ++l) {
        const unsigned t = l % 8 / 2;
        const float left = HalfOf(of_a[l / 8][t], l % 2 + i / 2 * 2);
        const float right = HalfOf(of_b[i % 2][t], l % 2 + l / 8 * 2);
        double& product = addend[1 + l - k];
        product = static_cast<double>(left) * static_cast<double>(right);
        largest = std::fmax(largest, std::fabs(product));
      }
      if (!(largest > 0)) {
        for (const double value : addend) total = value == 0 ? total : value;
        continue;
      }
      const double unit = std::ldexp(1, std::ilogb(largest) - 22);
      total = 0;
      for (const double value : addend) total += Truncate(value, unit);
      total = Truncate(total, unit);
    }
    sum[i] = static_cast<float>(total);
  }
}

void Run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel) {
  static const uint64_t seed = EnvironmentNumber("LONGVLM_EMULATOR_SEED", 1);
  static const size_t threads =
      std::max<uint64_t>(1, EnvironmentNumber("LONGVLM_EMULATOR_THREADS", 2));
  static std::atomic<uint64_t> launches{0};
  const uint64_t of_launch = Mix(seed + launches.fetch_add(1));
  if (block.y != 1 || block.z != 1 || grid.y != 1 || grid.z != 1) Die("only one axis is emulated");
  constexpr size_t kMostShared = 48 * 1024;
  if (shared_bytes > kMostShared) Die("a launch with more shared memory than needs no opt-in");
  // Blocks from a random one on: an order among them must not matter.
  std::atomic<unsigned> next{0};
  const auto work = [&] {
    static thread_local BlockRunner blocks;
    for (unsigned i; (i = next.fetch_add(1)) < grid.x;) {
      const unsigned index = static_cast<unsigned>((of_launch + i) % grid.x);
      blocks.RunBlock(kernel, grid, block, index, shared_bytes, Mix(of_launch + index));
    }
  };
  std::vector<std::thread> helpers;
  for (size_t i = 1; i < std::min<size_t>(threads, grid.x); ++i) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace emulator

unsigned long long atomicMin(unsigned long long* address, unsigned long long value) {
  std::atomic_ref<unsigned long long> word(*address);
  unsigned long long old = word.load();
  while (value < old && !word.compare_exchange_weak(old, value)) {
  }
  return old;
}

unsigned long long atomicMax(unsigned long long* address, unsigned long long value) {
  std::atomic_ref<unsigned long long> word(*address);
  unsigned long long old = word.load();
  while (value > old && !word.compare_exchange_weak(old, value)) {
  }
  return old;
}

unsigned atomicMax(unsigned* address, unsigned value) {
  std::atomic_ref<unsigned> word(*address);
  unsigned old = word.load();
  while (value > old && !word.compare_exchange_weak(old, value)) {
  }
  return old;
}

// The runtime: one device, whose memory is the heap.
namespace {

constexpr int kAlign = 256;
constexpr size_t kDeviceBytes = size_t{4} << 30;

struct Event {
  std::chrono::steady_clock::time_point at;
};

cudaError_t Allocate(void** pointer, size_t bytes) {
  if (bytes > kDeviceBytes) return cudaErrorMemoryAllocation;
  *pointer = ::operator new(bytes, std::align_val_t{kAlign}, std::nothrow);
  if (*pointer == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*pointer, 0xff, bytes);
  return cudaSuccess;
}

// Adds a line to the file that LV_EMULATED_COPIES names: the direction, and the bytes.
void LogCopy(cudaMemcpyKind kind, size_t bytes) {
  const char* const path = std::getenv("LV_EMULATED_COPIES");
  if (path == nullptr) return;
  const char* const way = kind == cudaMemcpyHostToDevice   ? "up"
                          : kind == cudaMemcpyDeviceToHost ? "down"
                                                           : "across";
  if (std::FILE* const file = std::fopen(path, "a")) {
    std::fprintf(file, "%s %zu\n", way, bytes);
    std::fclose(file);
  }
}

void Release(void* pointer) { ::operator delete(pointer, std::align_val_t{kAlign}); }

}  // namespace

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "emulated on the CPU");
  properties->multiProcessorCount = 16;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  if (attribute != cudaDevAttrMultiProcessorCount) return cudaErrorInvalidValue;
  *value = 16;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 0;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 0;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : "an emulated error";
}
const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaErrorEmulated";
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *free_bytes = *total_bytes = kDeviceBytes;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** pointer, size_t bytes) { return Allocate(pointer, bytes); }
cudaError_t cudaFree(void* pointer) {
  Release(pointer);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes) { return Allocate(pointer, bytes); }
cudaError_t cudaFreeHost(void* pointer) { return cudaFree(pointer); }
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t) {
  LogCopy(kind, bytes);
  if (bytes > 0) std::memmove(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int byte, size_t bytes, cudaStream_t) {
  if (bytes > 0) std::memset(to, byte, bytes);
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = reinterpret_cast<cudaStream_t>(new char);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete reinterpret_cast<char*>(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = reinterpret_cast<cudaEvent_t>(new Event{});
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete reinterpret_cast<Event*>(event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  reinterpret_cast<Event*>(event)->at = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  const std::chrono::duration<float, std::milli> elapsed =
      reinterpret_cast<Event*>(end)->at - reinterpret_cast<Event*>(begin)->at;
  *milliseconds = elapsed.count();
  return cudaSuccess;
}
