// The only file that queries the CPU's features.
#include "kernels/dispatch.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(LONGVLM_X86)
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

#include "kernels/panels.h"

namespace longvlm {
namespace {

// In ascending order; a CPU supports the first rows up to some row.
constexpr Kernels kTable[] = {
    {"portable", kPanelWidthAPortable, kPanelWidthBPortable, TokenMetricF32_portable,
     TokenMetricF16_portable, NormalizeRow_portable, ScreenMatches_portable, Similarities_portable,
     BestMatch_portable, Products_portable, DotProduct_portable, SumRowsF32_portable,
     SumRowsF16_portable, SumRowsF64_portable, StoreMeansF32_portable, StoreMeansF16_portable},
#if defined(LONGVLM_X86)
    {"avx2", kPanelWidthAAvx2, kPanelWidthBAvx2, TokenMetricF32_avx2, TokenMetricF16_avx2,
     NormalizeRow_avx2, ScreenMatches_avx2, Similarities_avx2, BestMatch_avx2, Products_avx2,
     DotProduct_avx2, SumRowsF32_avx2, SumRowsF16_avx2, SumRowsF64_avx2, StoreMeansF32_avx2,
     StoreMeansF16_avx2},
    // Memory-bound kernels are no faster with wider registers.
    {"avx512", kPanelWidthAAvx512, kPanelWidthBAvx512, TokenMetricF32_avx2, TokenMetricF16_avx2,
     NormalizeRow_avx2, ScreenMatches_avx512, Similarities_avx2, BestMatch_avx512, Products_avx512,
     DotProduct_avx2, SumRowsF32_avx2, SumRowsF16_avx2, SumRowsF64_avx2, StoreMeansF32_avx2,
     StoreMeansF16_avx2},
#elif defined(LONGVLM_ARM64)
    // 16-bit products are no faster than float32 ones, so there is no screening. Here the compiler
    // makes fused multiply-adds of the portable code.
    {"neon", kPanelWidthANeon, kPanelWidthBNeon, TokenMetricF32_neon, TokenMetricF16_neon,
     NormalizeRow_neon, nullptr, Similarities_portable, BestMatch_neon, Products_neon,
     DotProduct_neon, SumRowsF32_neon, SumRowsF16_neon, SumRowsF64_neon, StoreMeansF32_neon,
     StoreMeansF16_neon},
#endif
};

// All valid values of LONGVLM_MAX_ISA, on any machine: an instruction set that this machine lacks
// has no effect.
constexpr std::string_view kNames[] = {"portable", "avx2", "avx512", "neon"};

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

constexpr uint64_t kXmmAndYmm = 0x6;
constexpr uint64_t kZmmAndMasks = 0xe0;

bool HasAvx2() {
  if (CpuId(0).a < 7) return false;
  constexpr uint32_t kFma = 1u << 12, kOsXsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;
  constexpr uint32_t kLeaf1 = kFma | kOsXsave | kAvx | kF16c;
  constexpr uint32_t kAvx2 = 1u << 5;
  return (CpuId(1).c & kLeaf1) == kLeaf1 && (SavedState() & kXmmAndYmm) == kXmmAndYmm &&
         (CpuId(7).b & kAvx2) != 0;
}

bool HasAvx512() {
  constexpr uint32_t kF = 1u << 16, kBw = 1u << 30, kVl = 1u << 31;
  constexpr uint32_t kVnni = 1u << 11;
  const Registers leaf7 = CpuId(7);
  return (SavedState() & kZmmAndMasks) == kZmmAndMasks &&
         (leaf7.b & (kF | kBw | kVl)) == (kF | kBw | kVl) && (leaf7.c & kVnni) != 0;
}
#endif

// How many rows of the table this CPU supports.
size_t CountOfCpu() {
#if defined(LONGVLM_X86)
  if (!HasAvx2()) return 1;
  return HasAvx512() ? 3 : 2;
#else
  return std::size(kTable);
#endif
}

const Kernels* AtMost(std::string_view name) {
  const size_t count = CountOfCpu();
  for (size_t i = 0; i < count; ++i) {
    if (kTable[i].name == name) return &kTable[i];
  }
  std::string names;
  for (const std::string_view known : kNames) {
    if (known == name) return &kTable[count - 1];
    names.append(names.empty() ? "" : ", ").append(known);
  }
  throw std::invalid_argument("Expected one of " + names + " for LONGVLM_MAX_ISA but received '" +
                              std::string(name) + "'");
}

std::atomic<const Kernels*> active{nullptr};

}  // namespace

const Kernels& ActiveKernels() {
  const Kernels* kernels = active.load(std::memory_order_acquire);
  if (kernels == nullptr) {
    const char* limit = std::getenv("LONGVLM_MAX_ISA");
    kernels = limit != nullptr && *limit != '\0' ? AtMost(limit) : &kTable[CountOfCpu() - 1];
    active.store(kernels, std::memory_order_release);
  }
  return *kernels;
}

void SetMaxInstructionSet(std::string_view name) {
  active.store(AtMost(name), std::memory_order_release);
}

std::vector<std::string_view> InstructionSets() {
  std::vector<std::string_view> names(CountOfCpu());
  for (size_t i = 0; i < names.size(); ++i) names[i] = kTable[i].name;
  return names;
}

}  // namespace longvlm
