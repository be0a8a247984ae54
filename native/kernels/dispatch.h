// Selects the kernels of the current instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/best_match.h"
#include "kernels/copy_past_caches.h"
#include "kernels/dot_product.h"
#include "kernels/gaussian_sums.h"
#include "kernels/normalize_row.h"
#include "kernels/pack_panel.h"
#include "kernels/products.h"
#include "kernels/row_integers.h"
#include "kernels/row_sums.h"
#include "kernels/screen_matches.h"
#include "kernels/screen_panels.h"
#include "kernels/screen_rows.h"
#include "kernels/similarities.h"
#include "kernels/token_metric.h"
#include "kernels/word_products.h"

#if defined(__x86_64__) || defined(_M_X64)
#define LONGVLM_X86 1
#elif defined(__aarch64__) || defined(_M_ARM64)
#define LONGVLM_ARM64 1
#endif

// Compilers before these have no intrinsics or assembler for AVX-VNNI.
#if defined(LONGVLM_X86) &&                                                                      \
    ((defined(__clang__) && __clang_major__ >= 13) || (defined(_MSC_VER) && _MSC_VER >= 1930) || \
     (defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11))
#define LONGVLM_AVXVNNI 1
#endif

// Marks a function of an _avx2, _avxvnni or _avx512 file. An attribute of the function, unlike a
// compiler flag of the file, does not affect inline functions of headers, of which the linker keeps
// one copy for all files.
#if defined(LONGVLM_X86) && defined(__GNUC__)
#define LONGVLM_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#define LONGVLM_TARGET_AVXVNNI __attribute__((target("avx2,fma,f16c,avxvnni")))
#define LONGVLM_TARGET_AVX512 \
  __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")))
#else
#define LONGVLM_TARGET_AVX2
#define LONGVLM_TARGET_AVXVNNI
#define LONGVLM_TARGET_AVX512
#endif

namespace longvlm {

// One row of the table: all kernels of an instruction set. See the kernels' own headers.
struct Kernels {
  std::string_view name;
  // Widths of panels, see panels.h.
  size_t width_a;
  size_t width_b;
  decltype(&TokenMetricF32_portable) token_metric_f32;
  decltype(&TokenMetricF16_portable) token_metric_f16;
  decltype(&NormalizeRow_portable) normalize_row;
  decltype(&NormalizeRows_portable) normalize_rows;
  decltype(&RowSquares_portable) row_squares;
  decltype(&ScaleRow_portable) scale_row;
  decltype(&PackPanel_portable) pack_panel;
  // Null if 16-bit products are no faster than float32 products, as is word_products.
  decltype(&ScreenMatches_portable) screen_matches;
  decltype(&RowWords_portable) row_words;
  decltype(&ScaleWords_portable) scale_words;
  decltype(&WordProducts_portable) word_products;
  // Null if 8-bit products are no faster than 16-bit products.
  decltype(&ScreenPanels_avx512) screen_panels;
  decltype(&ScreenRows_avx512) screen_rows;
  decltype(&RowBytes_avx2) row_bytes;
  decltype(&LargestMagnitude_avx2) largest_magnitude;
  decltype(&Similarities_portable) similarities;
  decltype(&BestMatch_portable) best_match;
  decltype(&Products_portable) products;
  decltype(&DotProduct_portable) dot_product;
  decltype(&SquareAndProduct_portable) square_and_product;
  decltype(&CopyPastCaches_portable) copy_past_caches;
  decltype(&SelectChannels_portable) select_channels;
  decltype(&AddMoments_portable) add_moments;
  decltype(&AddScaledRows_portable) add_scaled_rows;
  decltype(&SquaredDistances_portable) squared_distances;
  decltype(&SumRowsF32_portable) sum_rows_f32;
  decltype(&SumRowsF16_portable) sum_rows_f16;
  decltype(&SumRowsF64_portable) sum_rows_f64;
  decltype(&StoreMeansF32_portable) store_means_f32;
  decltype(&StoreMeansF16_portable) store_means_f16;
};

// The best instruction set that this CPU supports, limited by LONGVLM_MAX_ISA. Throws
// std::invalid_argument if that is not the name of one.
const Kernels& ActiveKernels();

// Limits the instruction set to `name`, in the whole process, from the next operation on. Throws
// std::invalid_argument for an unknown name.
void SetMaxInstructionSet(std::string_view name);

// The names of the instruction sets that this CPU supports, `portable` first.
std::vector<std::string_view> InstructionSets();

}  // namespace longvlm
