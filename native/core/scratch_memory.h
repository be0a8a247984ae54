// Memory that is written before it is read: unlike a vector's it is not filled with zeros, and
// pages that nothing is written to take none.
#pragma once

#include <cstddef>
#include <memory>

namespace longvlm {

template <typename T>
class ScratchMemory {
 public:
  // Room for so many values; what it held has no meaning any more.
  void Resize(size_t size) {
    if (size <= size_) return;
    values_ = std::make_unique_for_overwrite<T[]>(size);
    size_ = size;
  }

  T* data() const { return values_.get(); }

 private:
  std::unique_ptr<T[]> values_;
  size_t size_ = 0;
};

}  // namespace longvlm
