#include "kernels/copy_past_caches.h"
#include "kernels/dispatch.h"

#if defined(LONGVLM_X86)

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace longvlm {

LONGVLM_TARGET_AVX2 void CopyPastCaches_avx2(const std::byte* from, size_t bytes, std::byte* to) {
  constexpr size_t kLine = 64;
  const size_t before = std::min(bytes, (kLine - reinterpret_cast<uintptr_t>(to) % kLine) % kLine);
  std::memcpy(to, from, before);
  size_t i = before;
  for (; i + kLine <= bytes; i += kLine) {
    const auto* line = reinterpret_cast<const __m256i*>(from + i);
    auto* out = reinterpret_cast<__m256i*>(to + i);
    const __m256i first = _mm256_loadu_si256(line);
    const __m256i second = _mm256_loadu_si256(line + 1);
    _mm256_stream_si256(out, first);
    _mm256_stream_si256(out + 1, second);
  }
  std::memcpy(to + i, from + i, bytes - i);
  // Such writes are otherwise not ordered before what tells other threads of them.
  _mm_sfence();
}

}  // namespace longvlm

#endif  // LONGVLM_X86
