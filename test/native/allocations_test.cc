// Counts what is allocated while merging: nothing, once a TokenMerger has seen the shape.
#include <atomic>
#include <cstdlib>
#include <new>

#include "check.h"
#include "core/merge_tokens.h"
#include "inputs.h"
#include "tests.h"

namespace {

std::atomic<size_t> allocations{0};

void* Allocate(size_t size, size_t alignment) {
  ++allocations;
  void* memory = alignment > alignof(std::max_align_t)
                     ? std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
                     : std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t size) { return Allocate(size, 1); }
void* operator new[](size_t size) { return Allocate(size, 1); }
void* operator new(size_t size, std::align_val_t alignment) {
  return Allocate(size, static_cast<size_t>(alignment));
}
void* operator new(size_t size, const std::nothrow_t&) noexcept { return Allocate(size, 1); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace longvlm {

void TestAllocations() {
  constexpr size_t kSegments = 4, kTokens = 320, kChannels = 64;
  for (const InputKind kind : {InputKind::kRandom, InputKind::kConstant}) {
    const auto tokens = MakeInput(kind, kSegments * kTokens, kChannels, 1);
    std::vector<float> out(kSegments * 10 * kChannels), sizes(kSegments * 10);
    std::vector<int32_t> assignment(kSegments * kTokens);
    ThreadPool pool(2);
    TokenMerger merger;
    for (const size_t segments : {size_t{1}, kSegments}) {
      const MergeTokensArgs args{.tokens = tokens.data(),
                                 .shape = {segments, kTokens, kChannels},
                                 .heads = 2,
                                 .schedule = {160, 80, 40, 20, 10},
                                 .out = out.data(),
                                 .out_sizes = sizes.data(),
                                 .out_assignment = assignment.data()};
      // The threads share segments out as they come: each has to have seen one.
      for (int warm = 0; warm < 50; ++warm) merger.Merge(args, {&pool, nullptr});
      const size_t before = allocations;
      for (int call = 0; call < 10; ++call) merger.Merge(args, {&pool, nullptr});
      CHECK(allocations == before, "%zu allocations in 10 calls", allocations - before);
      CHECK(merger.memory() > 0, "no memory is kept");
    }
  }
}

}  // namespace longvlm
