#include <algorithm>
#include <limits>

#include "kernels/panels.h"
#include "kernels/screen_matches.h"

namespace longvlm {
namespace {

int32_t Low(int32_t pair) { return static_cast<int16_t>(pair & 0xffff); }
int32_t High(int32_t pair) { return pair >> 16; }

}  // namespace

size_t ScreenMatches_portable(const int32_t* a, const int32_t* b, size_t panels, size_t dims,
                              int32_t margin, uint32_t columns, RowPair* found, size_t max_pairs) {
  constexpr size_t kA = kPanelWidthAPortable;
  constexpr size_t kB = kPanelWidthBPortable;
  const size_t pairs = (dims + 1) / 2;
  const int32_t* first_panel = b;
  int32_t highest[kScreenMaxPanels][kA];
  int32_t best[kA];
  std::fill_n(best, kA, std::numeric_limits<int32_t>::min());
  for (size_t panel = 0; panel < panels; ++panel, b += pairs * kB) {
    int32_t sum[kB][kA] = {};
    for (size_t k = 0; k < pairs; ++k) {
      for (size_t j = 0; j < kB; ++j) {
        const int32_t low = Low(b[k * kB + j]);
        const int32_t high = High(b[k * kB + j]);
        for (size_t i = 0; i < kA; ++i) {
          sum[j][i] += Low(a[k * kA + i]) * low + High(a[k * kA + i]) * high;
        }
      }
    }
    for (size_t i = 0; i < kA; ++i) {
      highest[panel][i] = std::max({sum[0][i], sum[1][i], sum[2][i], sum[3][i]});
      best[i] = std::max(best[i], highest[panel][i]);
    }
  }
  size_t count = 0;
  for (size_t panel = 0; panel < panels; ++panel) {
    for (size_t i = 0; i < kA; ++i) {
      const int32_t least = best[i] - margin;
      if ((columns >> i & 1) == 0 || highest[panel][i] < least) continue;
      for (size_t j = 0; j < kB; ++j) {
        int32_t sum = 0;
        for (size_t k = 0; k < pairs; ++k) {
          const int32_t left = a[k * kA + i];
          const int32_t right = first_panel[(panel * pairs + k) * kB + j];
          sum += Low(left) * Low(right) + High(left) * High(right);
        }
        if (sum < least) continue;
        if (count == max_pairs) return max_pairs + 1;
        found[count++] = {static_cast<uint32_t>(i), static_cast<uint32_t>(panel * kB + j)};
      }
    }
  }
  return count;
}

}  // namespace longvlm
