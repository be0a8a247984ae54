#include "cpu_core.h"

#include "core/merge_tokens.h"

namespace cpu_core {

void Run(const MergeTokens& work) {
  longvlm::MergeTokensArgs args = {};
  args.shape = {work.segments, work.tokens_per_segment, work.channels};
  if (work.half) {
    args.tokens = static_cast<const uint16_t*>(work.tokens);
    args.out = static_cast<uint16_t*>(work.out_tokens);
  } else {
    args.tokens = static_cast<const float*>(work.tokens);
    args.out = static_cast<float*>(work.out_tokens);
  }
  args.heads = work.heads;
  args.schedule = work.schedule;
  args.out_sizes = work.out_sizes;
  args.out_assignment = work.out_assignment;
  args.protected_tokens = work.protect;
  args.sizes = work.sizes;
  longvlm::MergeTokens(args, {nullptr, nullptr});
}

}  // namespace cpu_core
