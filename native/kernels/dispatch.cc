// The only file that asks what the CPU can do.
#include "kernels/dispatch.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <span>
#include <stdexcept>
#include <string>

#if defined(LONGVLM_X86)
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace longvlm {
namespace {

// From the plainest up.
constexpr Kernels kTable[] = {
    {"portable", kBestMatchWidthAPortable, kBestMatchWidthBPortable, BestMatch_portable,
     SumRowsF32_portable, SumRowsF16_portable, StoreMeansF32_portable, StoreMeansF16_portable},
#if defined(LONGVLM_X86)
    {"avx2", kBestMatchWidthAAvx2, kBestMatchWidthBAvx2, BestMatch_avx2, SumRowsF32_avx2,
     SumRowsF16_avx2, StoreMeansF32_avx2, StoreMeansF16_avx2},
#endif
};

// Every name that LONGVLM_MAX_ISA may have, on any machine: one that this machine lacks lowers
// nothing.
constexpr std::string_view kNames[] = {"portable", "avx2"};

#if defined(LONGVLM_X86)
struct Registers {
  uint32_t a, b, c, d;
};

Registers CpuId(uint32_t leaf) {
#if defined(_MSC_VER)
  std::array<int, 4> out;
  __cpuidex(out.data(), static_cast<int>(leaf), 0);
  return {static_cast<uint32_t>(out[0]), static_cast<uint32_t>(out[1]),
          static_cast<uint32_t>(out[2]), static_cast<uint32_t>(out[3])};
#else
  Registers out{};
  __get_cpuid_count(leaf, 0, &out.a, &out.b, &out.c, &out.d);
  return out;
#endif
}

// Which registers the operating system saves when it switches threads.
uint64_t SavedState() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
#endif
}

bool HasAvx2() {
  if (CpuId(0).a < 7) return false;
  constexpr uint32_t kFma = 1u << 12, kOsXsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;
  constexpr uint32_t kLeaf1 = kFma | kOsXsave | kAvx | kF16c;
  constexpr uint32_t kAvx2 = 1u << 5;
  constexpr uint64_t kXmmAndYmm = 6;
  return (CpuId(1).c & kLeaf1) == kLeaf1 && (SavedState() & kXmmAndYmm) == kXmmAndYmm &&
         (CpuId(7).b & kAvx2) != 0;
}
#endif

size_t HighestOfCpu() {
#if defined(LONGVLM_X86)
  if (HasAvx2()) return 1;
#endif
  return 0;
}

const Kernels* AtMost(std::string_view name) {
  const size_t highest = HighestOfCpu();
  for (size_t rank = 0; rank < std::size(kNames); ++rank) {
    if (kNames[rank] == name) return &kTable[rank < highest ? rank : highest];
  }
  std::string names;
  for (const std::string_view known : kNames) names.append(names.empty() ? "" : ", ").append(known);
  throw std::invalid_argument("Expected one of " + names + " for LONGVLM_MAX_ISA but received '" +
                              std::string(name) + "'");
}

std::atomic<const Kernels*> active{nullptr};

}  // namespace

const Kernels& ActiveKernels() {
  const Kernels* kernels = active.load(std::memory_order_acquire);
  if (kernels == nullptr) {
    const char* limit = std::getenv("LONGVLM_MAX_ISA");
    kernels = limit != nullptr && *limit != '\0' ? AtMost(limit) : &kTable[HighestOfCpu()];
    active.store(kernels, std::memory_order_release);
  }
  return *kernels;
}

void SetMaxInstructionSet(std::string_view name) {
  active.store(AtMost(name), std::memory_order_release);
}

}  // namespace longvlm
