// The kernels for the instruction set that is in use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/best_match.h"
#include "kernels/row_sums.h"

#if defined(__x86_64__) || defined(_M_X64)
#define LONGVLM_X86 1
#endif

// Marks a function of an _avx2 file. As an attribute of the function and not a flag of the file, it
// cannot leak into the inline functions of headers, of which the linker keeps one copy for all
// files.
#if defined(LONGVLM_X86) && defined(__GNUC__)
#define LONGVLM_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#else
#define LONGVLM_TARGET_AVX2
#endif

namespace longvlm {

// One row of the table: all kernels of an instruction set. See the kernels' own headers.
struct Kernels {
  std::string_view name;
  size_t width_a;
  size_t width_b;
  decltype(&BestMatch_portable) best_match;
  decltype(&SumRowsF32_portable) sum_rows_f32;
  decltype(&SumRowsF16_portable) sum_rows_f16;
  decltype(&StoreMeansF32_portable) store_means_f32;
  decltype(&StoreMeansF16_portable) store_means_f16;
};

// The best that this CPU has, at most LONGVLM_MAX_ISA. Throws std::invalid_argument when that names
// no instruction set.
const Kernels& ActiveKernels();

// Uses at most the instruction set `name`, in the whole process, from the next operation on. Throws
// std::invalid_argument when no instruction set has that name.
void SetMaxInstructionSet(std::string_view name);

}  // namespace longvlm
