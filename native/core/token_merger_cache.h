// A TokenMerger that consecutive calls share. A call that finds it in use allocates its own memory.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>

#include "core/merge_tokens.h"

namespace longvlm {

class TokenMergerCache {
 public:
  void Merge(const MergeTokensArgs& args, const Workers& workers) {
    std::unique_ptr<TokenMerger> merger = Take();
    merger->Merge(args, workers);
    Give(std::move(merger));
  }

 private:
  // Maximum size of the memory that is kept between calls.
  static constexpr size_t kMostBytes = size_t{256} << 20;

  std::unique_ptr<TokenMerger> Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return kept_ != nullptr ? std::move(kept_) : std::make_unique<TokenMerger>();
  }

  void Give(std::unique_ptr<TokenMerger> merger) {
    if (merger->memory() > kMostBytes) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    kept_ = std::move(merger);
  }

  std::mutex mutex_;
  std::unique_ptr<TokenMerger> kept_;
};

}  // namespace longvlm
