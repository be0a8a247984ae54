// The memory that vectors take.
#pragma once

#include <cstddef>
#include <vector>

namespace longvlm {

template <typename... T>
size_t BytesOf(const std::vector<T>&... vectors) {
  return ((vectors.capacity() * sizeof(T)) + ...);
}

}  // namespace longvlm
