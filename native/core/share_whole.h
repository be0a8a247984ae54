// Whole numbers in proportion.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace longvlm {

// Whole numbers as near to wanted(i) as they can be with the sum `total`: at first rounded down,
// then one more or one less where that is farthest off, and of equals the first. Each is at least
// 1 and at most most(i), or 0 where that is 0; the sum is another only where all are at a limit.
// Range: wanted(i) >= 0.
template <typename Wanted, typename Most>
std::vector<uint32_t> ShareWhole(size_t count, size_t total, Wanted wanted, Most most) {
  std::vector<uint32_t> shares(count);
  size_t given = 0;
  for (size_t i = 0; i < count; ++i) {
    const double whole = std::floor(std::min(wanted(i), static_cast<double>(most(i))));
    shares[i] =
        static_cast<uint32_t>(std::min<size_t>(most(i), static_cast<size_t>(std::max(whole, 1.0))));
    given += shares[i];
  }
  while (given != total) {
    const bool gives = given < total;
    size_t chosen = count;
    double farthest = 0;
    for (size_t i = 0; i < count; ++i) {
      if (gives ? shares[i] >= most(i) : shares[i] <= 1) continue;
      const double lack = wanted(i) - static_cast<double>(shares[i]);
      const double off = gives ? lack : -lack;
      if (chosen != count && off <= farthest) continue;
      chosen = i;
      farthest = off;
    }
    if (chosen == count) break;
    shares[chosen] += gives ? 1u : -1u;
    given += gives ? size_t{1} : ~size_t{0};
  }
  return shares;
}

}  // namespace longvlm
