#include "core/evs.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/highest.h"
#include "core/select_top_k.h"
#include "core/temporal_similarity.h"

namespace longvlm {

void Evs(const EvsArgs& args, const Workers& workers) {
  const Shape& shape = args.shape;
  std::vector<float> changes((shape.batch - 1) * shape.rows);
  TemporalSimilarity({.tokens = args.tokens,
                      .shape = shape,
                      .best = false,
                      .out_cosines = changes.data(),
                      .out_matches = nullptr},
                     workers);
  for (float& change : changes) change = 1 - change;
  std::vector<uint64_t> keys;
  std::vector<uint32_t> changed;
  FindHighest(changes, args.total - shape.rows, keys, changed);
  std::ranges::sort(changed);
  std::iota(args.out_indices, args.out_indices + shape.rows, 0);
  std::ranges::transform(changed, args.out_indices + shape.rows,
                         [&](uint32_t other) { return static_cast<int32_t>(shape.rows + other); });
  GatherTokens({.tokens = args.tokens,
                .shape = shape,
                .indices = args.out_indices,
                .count = args.total,
                .out = args.out},
               workers);
}

}  // namespace longvlm
