#include "kernels/dispatch.h"
#include "kernels/panels.h"
#include "kernels/screen_matches.h"
#include "kernels/screen_panels.h"

#if defined(LONGVLM_AVXVNNI)

#include <immintrin.h>

#include <bit>
#include <limits>
#include <utility>

namespace longvlm {
namespace {

// Adds to each 32-bit lane the four products of its 8-bit numbers, unsigned ones of a, signed ones
// of b.
LONGVLM_TARGET_AVXVNNI inline void AddByteProducts(__m256i a, __m256i b, __m256i& sum) {
#if defined(__GNUC__)
  // GCC 12 keeps the sums of the intrinsic in memory, not in registers.
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
#else
  sum = _mm256_dpbusd_avx_epi32(sum, a, b);
#endif
}

struct Highest {
  __m256i left;   // columns 0 to 7
  __m256i right;  // columns 8 to 15
};

// The highest product of each column of a panel of A with the rows of a panel of B.
template <size_t... kRow>
LONGVLM_TARGET_AVXVNNI inline Highest HighestOfPanel(const int32_t* a, const int32_t* b,
                                                     const int32_t* start, size_t quads,
                                                     std::index_sequence<kRow...>) {
  constexpr size_t kA = kPanelWidthAAvx2;
  constexpr size_t kB = kPanelWidthBAvx2;
  __m256i left[kB], right[kB];
  ((left[kRow] = right[kRow] = _mm256_set1_epi32(start[kRow])), ...);
  for (size_t k = 0; k < quads; ++k, a += kA, b += kB) {
    const __m256i a_left = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a));
    const __m256i a_right = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + 8));
    ((AddByteProducts(a_left, _mm256_set1_epi32(b[kRow]), left[kRow]),
      AddByteProducts(a_right, _mm256_set1_epi32(b[kRow]), right[kRow])),
     ...);
  }
  Highest highest{left[0], right[0]};
  ((highest.left = _mm256_max_epi32(highest.left, left[kRow]),
    highest.right = _mm256_max_epi32(highest.right, right[kRow])),
   ...);
  return highest;
}

// A bit for each lane of `values` that is below that of `least`.
LONGVLM_TARGET_AVXVNNI inline uint32_t Below(__m256i values, __m256i least) {
  const __m256i below = _mm256_cmpgt_epi32(least, values);
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(below)));
}

LONGVLM_TARGET_AVXVNNI inline __m256i Load(const int32_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

}  // namespace

LONGVLM_TARGET_AVXVNNI size_t ScreenPanels_avxvnni(const int32_t* a, const int32_t* b,
                                                   const int32_t* start, size_t panels, size_t dims,
                                                   const int32_t* margins, uint32_t columns,
                                                   uint32_t* hits) {
  constexpr size_t kB = kPanelWidthBAvx2;
  const size_t quads = (dims + 3) / 4;
  Highest highest[kScreenMaxPanels];
  __m256i best_left = _mm256_set1_epi32(std::numeric_limits<int32_t>::min());
  __m256i best_right = best_left;
  for (size_t panel = 0; panel < panels; ++panel) {
    highest[panel] = HighestOfPanel(a, b + panel * quads * kB, start + panel * kB, quads,
                                    std::make_index_sequence<kB>());
    best_left = _mm256_max_epi32(best_left, highest[panel].left);
    best_right = _mm256_max_epi32(best_right, highest[panel].right);
  }
  const __m256i least_left = _mm256_sub_epi32(best_left, Load(margins));
  const __m256i least_right = _mm256_sub_epi32(best_right, Load(margins + 8));
  size_t count = 0;
  for (size_t panel = 0; panel < panels; ++panel) {
    const uint32_t below =
        Below(highest[panel].left, least_left) | Below(highest[panel].right, least_right) << 8;
    hits[panel] = columns & ~below & 0xffffu;
    count += static_cast<size_t>(std::popcount(hits[panel]));
  }
  return count;
}

}  // namespace longvlm

#endif  // LONGVLM_AVXVNNI
