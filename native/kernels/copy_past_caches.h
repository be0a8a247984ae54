// Copies what is not read again soon: without reading the memory that is written, as a plain copy
// does, and without what it displaces from the caches.
//   from [bytes], to [bytes], no overlap; no alignment
// Range: any.   Ties: none.   Work: one read and one write; no workspace. What is written is seen
// by other threads as with a plain copy.   Error: none.   Source: ours.
#pragma once

#include <cstddef>

namespace longvlm {

void CopyPastCaches_portable(const std::byte* from, size_t bytes, std::byte* to);
void CopyPastCaches_avx2(const std::byte* from, size_t bytes, std::byte* to);

}  // namespace longvlm
