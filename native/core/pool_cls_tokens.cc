#include "core/pool_cls_tokens.h"

#include <cstdint>
#include <vector>

#include "core/merge_by_assignment.h"

namespace longvlm {

void PoolClsTokens(const PoolClsTokensArgs& args, const Workers& workers) {
  const std::vector<int32_t> all_in_one(args.shape.batch, 0);
  std::vector<SlotRows> scratch;
  LocateNotFinite(args.cls, args.shape, PoolClsTokensArgs::kNames, [&] {
    MergeByAssignment({.rows = args.cls,
                       .shape = {1, args.shape.batch, args.shape.rows * args.shape.width},
                       .slots = 1,
                       .assignment = all_in_one.data(),
                       .weights = nullptr,
                       .mode = MergeMode::kMean,
                       .out = args.out,
                       .out_sums = nullptr},
                      workers, scratch);
  });
}

}  // namespace longvlm
