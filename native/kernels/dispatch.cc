// The only file that queries the CPU's features.
#include "kernels/dispatch.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <iterator>
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

constexpr Kernels kPortable = {
    .name = "portable",
    .width_a = kPanelWidthAPortable,
    .width_b = kPanelWidthBPortable,
    .token_metric_f32 = TokenMetricF32_portable,
    .token_metric_f16 = TokenMetricF16_portable,
    .normalize_row = NormalizeRow_portable,
    .normalize_rows = NormalizeRows_portable,
    .row_squares = RowSquares_portable,
    .scale_row = ScaleRow_portable,
    .pack_panel = PackPanel_portable,
    .screen_matches = ScreenMatches_portable,
    .row_words = RowWords_portable,
    .scale_words = ScaleWords_portable,
    .word_products = WordProducts_portable,
    .screen_panels = nullptr,
    .screen_rows = nullptr,
    .row_bytes = nullptr,
    .largest_magnitude = nullptr,
    .similarities = Similarities_portable,
    .best_match = BestMatch_portable,
    .products = Products_portable,
    .dot_product = DotProduct_portable,
    .square_and_product = SquareAndProduct_portable,
    .copy_past_caches = CopyPastCaches_portable,
    .select_channels = SelectChannels_portable,
    .add_moments = AddMoments_portable,
    .add_scaled_rows = AddScaledRows_portable,
    .squared_distances = SquaredDistances_portable,
    .sum_rows_f32 = SumRowsF32_portable,
    .sum_rows_f16 = SumRowsF16_portable,
    .sum_rows_f64 = SumRowsF64_portable,
    .store_means_f32 = StoreMeansF32_portable,
    .store_means_f16 = StoreMeansF16_portable,
};

#if defined(LONGVLM_X86)
constexpr Kernels kAvx2 = {
    .name = "avx2",
    .width_a = kPanelWidthAAvx2,
    .width_b = kPanelWidthBAvx2,
    .token_metric_f32 = TokenMetricF32_avx2,
    .token_metric_f16 = TokenMetricF16_avx2,
    .normalize_row = NormalizeRow_avx2,
    .normalize_rows = NormalizeRows_avx2,
    .row_squares = RowSquares_avx2,
    .scale_row = ScaleRow_avx2,
    .pack_panel = PackPanel_avx2,
    .screen_matches = ScreenMatches_avx2,
    .row_words = RowWords_avx2,
    .scale_words = ScaleWords_avx2,
    .word_products = WordProducts_avx2,
    .screen_panels = nullptr,
    .screen_rows = nullptr,
    .row_bytes = nullptr,
    .largest_magnitude = nullptr,
    .similarities = Similarities_avx2,
    .best_match = BestMatch_avx2,
    .products = Products_avx2,
    .dot_product = DotProduct_avx2,
    .square_and_product = SquareAndProduct_avx2,
    .copy_past_caches = CopyPastCaches_avx2,
    .select_channels = SelectChannels_avx2,
    .add_moments = AddMoments_avx2,
    .add_scaled_rows = AddScaledRows_avx2,
    .squared_distances = SquaredDistances_avx2,
    .sum_rows_f32 = SumRowsF32_avx2,
    .sum_rows_f16 = SumRowsF16_avx2,
    .sum_rows_f64 = SumRowsF64_avx2,
    .store_means_f32 = StoreMeansF32_avx2,
    .store_means_f16 = StoreMeansF16_avx2,
};

#if defined(LONGVLM_AVXVNNI)
constexpr Kernels AvxVnni() {
  Kernels kernels = kAvx2;
  kernels.name = "avxvnni";
  kernels.screen_panels = ScreenPanels_avxvnni;
  kernels.screen_rows = ScreenRows_avx2;
  kernels.row_bytes = RowBytes_avx2;
  kernels.largest_magnitude = LargestMagnitude_avx2;
  return kernels;
}
#endif

// Kernels that only wait for memory are no faster with wider registers.
constexpr Kernels Avx512() {
  Kernels kernels = kAvx2;
  kernels.name = "avx512";
  kernels.width_a = kPanelWidthAAvx512;
  kernels.width_b = kPanelWidthBAvx512;
  kernels.token_metric_f32 = TokenMetricF32_avx512;
  kernels.token_metric_f16 = TokenMetricF16_avx512;
  kernels.screen_matches = ScreenMatches_avx512;
  kernels.word_products = WordProducts_avx512;
  kernels.screen_panels = ScreenPanels_avx512;
  kernels.screen_rows = ScreenRows_avx512;
  kernels.row_bytes = RowBytes_avx2;
  kernels.largest_magnitude = LargestMagnitude_avx2;
  kernels.best_match = BestMatch_avx512;
  kernels.products = Products_avx512;
  kernels.square_and_product = SquareAndProduct_avx512;
  kernels.select_channels = SelectChannels_avx512;
  return kernels;
}
#elif defined(LONGVLM_ARM64)
// 16-bit products are no faster than float32 ones, so there is no screening. Here the compiler
// makes fused multiply-adds of the portable code.
constexpr Kernels Neon() {
  Kernels kernels = kPortable;
  kernels.name = "neon";
  kernels.width_a = kPanelWidthANeon;
  kernels.width_b = kPanelWidthBNeon;
  kernels.token_metric_f32 = TokenMetricF32_neon;
  kernels.token_metric_f16 = TokenMetricF16_neon;
  kernels.normalize_row = NormalizeRow_neon;
  kernels.normalize_rows = NormalizeRows_neon;
  kernels.screen_matches = nullptr;
  kernels.word_products = nullptr;
  kernels.best_match = BestMatch_neon;
  kernels.products = Products_neon;
  kernels.dot_product = DotProduct_neon;
  kernels.square_and_product = SquareAndProduct_neon;
  kernels.sum_rows_f32 = SumRowsF32_neon;
  kernels.sum_rows_f16 = SumRowsF16_neon;
  kernels.sum_rows_f64 = SumRowsF64_neon;
  kernels.store_means_f32 = StoreMeansF32_neon;
  kernels.store_means_f16 = StoreMeansF16_neon;
  return kernels;
}
#endif

// In ascending order of what is chosen. A CPU may lack one and support a later one.
constexpr Kernels kTable[] = {
    kPortable,
#if defined(LONGVLM_X86)
    kAvx2,
#if defined(LONGVLM_AVXVNNI)
    AvxVnni(),
#endif
    Avx512(),
#elif defined(LONGVLM_ARM64)
    Neon(),
#endif
};

// All valid values of LONGVLM_MAX_ISA, on any machine: an instruction set that this machine lacks
// has no effect.
constexpr std::string_view kNames[] = {"portable", "avx2", "avxvnni", "avx512", "neon"};

#if defined(LONGVLM_X86)
struct Registers {
  uint32_t a, b, c, d;
};

Registers CpuId(uint32_t leaf, uint32_t part = 0) {
#if defined(_MSC_VER)
  std::array<int, 4> out;
  __cpuidex(out.data(), static_cast<int>(leaf), static_cast<int>(part));
  return {static_cast<uint32_t>(out[0]), static_cast<uint32_t>(out[1]),
          static_cast<uint32_t>(out[2]), static_cast<uint32_t>(out[3])};
#else
  Registers out{};
  __get_cpuid_count(leaf, part, &out.a, &out.b, &out.c, &out.d);
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

bool HasAvxVnni() {
  constexpr uint32_t kAvxVnni = 1u << 4;
  return CpuId(7).a >= 1 && (CpuId(7, 1).a & kAvxVnni) != 0;
}
#endif

bool Supports([[maybe_unused]] std::string_view name) {
#if defined(LONGVLM_X86)
  if (name == "portable") return true;
  if (!HasAvx2()) return false;
  if (name == "avxvnni") return HasAvxVnni();
  return name == "avx2" || HasAvx512();
#else
  return true;
#endif
}

// The best that this CPU supports up to `name`, or at all if `name` is of another processor.
const Kernels* AtMost(std::string_view name) {
  if (std::find(std::begin(kNames), std::end(kNames), name) == std::end(kNames)) {
    std::string names;
    for (const std::string_view known : kNames)
      names.append(names.empty() ? "" : ", ").append(known);
    throw std::invalid_argument("Expected one of " + names + " for LONGVLM_MAX_ISA but received '" +
                                std::string(name) + "'");
  }
  const Kernels* best = kTable;
  for (const Kernels& kernels : kTable) {
    if (Supports(kernels.name)) best = &kernels;
    if (kernels.name == name) break;
  }
  return best;
}

std::atomic<const Kernels*> active{nullptr};

}  // namespace

const Kernels& ActiveKernels() {
  const Kernels* kernels = active.load(std::memory_order_acquire);
  if (kernels == nullptr) {
    const char* limit = std::getenv("LONGVLM_MAX_ISA");
    kernels = AtMost(limit != nullptr && *limit != '\0' ? limit : std::rbegin(kTable)->name);
    active.store(kernels, std::memory_order_release);
  }
  return *kernels;
}

void SetMaxInstructionSet(std::string_view name) {
  active.store(AtMost(name), std::memory_order_release);
}

std::vector<std::string_view> InstructionSets() {
  std::vector<std::string_view> names;
  for (const Kernels& kernels : kTable) {
    if (Supports(kernels.name)) names.push_back(kernels.name);
  }
  return names;
}

}  // namespace longvlm
