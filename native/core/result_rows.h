// The tokens that a method keeps, in memory that is new and may be large.
#pragma once

#include <cstddef>
#include <cstring>

#include "core/huge_pages.h"
#include "core/tensor.h"
#include "kernels/dispatch.h"

namespace longvlm {

class ResultRows {
 public:
  // Room for `count` rows of `width` values.
  ResultRows(Values out, size_t count, size_t width, const Kernels& kernels)
      : out_(out),
        row_bytes_(width * SizeOf(out.type)),
        copy_(count * row_bytes_ < kLarge ? CopyPastCaches_portable : kernels.copy_past_caches) {
    PreferHugePages(out, count * width);
  }

  // Row `to` becomes a row of `from`, which has the same type. Thread safe.
  void Copy(const ConstValues& from, size_t row, size_t to) const {
    copy_(static_cast<const std::byte*>(from.data) + row * row_bytes_, row_bytes_,
          static_cast<std::byte*>(out_.data) + to * row_bytes_);
  }

 private:
  // Less than it may still be in a cache when it is read.
  static constexpr size_t kLarge = size_t{1} << 23;

  const Values out_;
  const size_t row_bytes_;
  decltype(Kernels::copy_past_caches) const copy_;
};

}  // namespace longvlm
