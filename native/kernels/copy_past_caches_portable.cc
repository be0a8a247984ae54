#include <cstring>

#include "kernels/copy_past_caches.h"

namespace longvlm {

void CopyPastCaches_portable(const std::byte* from, size_t bytes, std::byte* to) {
  std::memcpy(to, from, bytes);
}

}  // namespace longvlm
