#include "core/highest.h"

#include <algorithm>

#include "core/falling_key.h"

namespace longvlm {

void FindHighest(std::span<const float> values, size_t count, std::vector<uint64_t>& keys,
                 std::vector<uint32_t>& out) {
  keys.resize(values.size());
  for (size_t i = 0; i < values.size(); ++i) keys[i] = FallingKey(values[i], i);
  const auto last = keys.begin() + static_cast<std::ptrdiff_t>(count);
  if (count < values.size()) std::nth_element(keys.begin(), last, keys.end());
  std::sort(keys.begin(), last);
  out.resize(count);
  for (size_t i = 0; i < count; ++i) out[i] = static_cast<uint32_t>(IndexOfKey(keys[i]));
}

}  // namespace longvlm
