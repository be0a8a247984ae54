#include "core/bipartite_soft_matching.h"

#include <algorithm>
#include <vector>

#include "core/matching.h"
#include "core/metric.h"

namespace longvlm {
namespace {

void WriteIndices(const BipartiteSoftMatchingArgs& args, Matching& matching, size_t entry) {
  const size_t stay = matching.num_a() - args.r;
  const auto token_of_a = [&](size_t place) {
    const size_t row = args.r == 0 ? place : matching.order()[place];
    return static_cast<int32_t>(2 * row);
  };
  for (size_t i = 0; i < args.r; ++i) {
    args.out_source[entry * args.r + i] = token_of_a(i);
    args.out_destination[entry * args.r + i] = 2 * matching.partner(matching.order()[i]) + 1;
  }
  for (size_t i = 0; i < stay; ++i) args.out_unmerged[entry * stay + i] = token_of_a(args.r + i);
  if (args.r > 0) matching.Merge(args.r);
  std::ranges::copy(matching.assignment(), args.out_assignment + entry * args.shape.rows);
}

}  // namespace

void BipartiteSoftMatching(const BipartiteSoftMatchingArgs& args, const Workers& workers) {
  constexpr TensorNames kNames{"metric", {"batch entry", "token", "dimension"}};
  LocateNotFinite(args.metric, args.shape, kNames, [&] {
    std::vector<Matching> entries;
    ReadMetric(args.metric, args.shape, 1, workers, entries);
    if (args.r > 0) Matching::MatchAll(entries, workers);
    workers.For(entries.size(), [&](size_t i) { WriteIndices(args, entries[i], i); });
  });
}

}  // namespace longvlm
