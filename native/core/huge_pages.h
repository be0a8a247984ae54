// Asks the system for large pages: an operation that writes a new, large tensor otherwise spends
// much of its time in the system, which hands out its memory 4 KiB at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/tensor.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace longvlm {

// Of `count` values that are about to be written. Without effect on memory that is in use already,
// on small tensors, and outside Linux.
inline void PreferHugePages([[maybe_unused]] const Values& values, [[maybe_unused]] size_t count) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = uintptr_t{1} << 21;
  const auto begin = reinterpret_cast<uintptr_t>(values.data);
  const uintptr_t first = (begin + kPage - 1) / kPage * kPage;
  const uintptr_t last = (begin + count * SizeOf(values.type)) / kPage * kPage;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

}  // namespace longvlm
