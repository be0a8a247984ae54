// Rows of 16-bit integers for WordProducts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/scratch_memory.h"
#include "kernels/dispatch.h"

namespace longvlm {

class WordRows {
 public:
  // What rows were set to has no meaning any more. Reuses memory.
  void Resize(size_t rows, size_t dims) {
    constexpr size_t kLine = 64 / sizeof(int16_t);
    static_assert(kWordsAtOnce % kLine == 0);
    const size_t lines = (dims + kWordsAtOnce - 1) / kWordsAtOnce * (kWordsAtOnce / kLine);
    // An odd number: otherwise the same values of some rows displace each other from a cache.
    stride_ = (lines | 1) * kLine;
    memory_.Resize(rows * stride_ + kLine);
    // Rows begin at a cache line.
    const size_t past = reinterpret_cast<uintptr_t>(memory_.data()) / sizeof(int16_t) % kLine;
    first_ = (kLine - past) % kLine;
  }

  int16_t* row(size_t index) { return memory_.data() + first_ + index * stride_; }
  const int16_t* row(size_t index) const { return memory_.data() + first_ + index * stride_; }

 private:
  size_t stride_ = 0;
  size_t first_ = 0;
  ScratchMemory<int16_t> memory_;
};

}  // namespace longvlm
