// The highest of some values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace longvlm {

// The indices of the `count` highest values, the highest first; of equal values the lowest index
// first. 0 <= count <= values. `keys` is scratch memory.
void FindHighest(std::span<const float> values, size_t count, std::vector<uint64_t>& keys,
                 std::vector<uint32_t>& out);

}  // namespace longvlm
