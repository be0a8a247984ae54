#include "core/bipartite_soft_matching.h"

#include <algorithm>
#include <span>
#include <vector>

#include "core/lanes.h"
#include "core/matching.h"
#include "core/metric.h"

namespace longvlm {
namespace {

void WriteMatches(const BipartiteSoftMatchingArgs& args, Matching& matching, size_t entry) {
  const size_t stay = matching.num_a() - args.r;
  const auto place = [first = matching.first_a()](size_t row) {
    return static_cast<int32_t>(first + 2 * row);
  };
  int32_t* unmerged = args.out_unmerged + entry * stay;
  if (args.r == 0) {
    for (size_t row = 0; row < stay; ++row) unmerged[row] = place(row);
    return;
  }
  const std::span<const uint32_t> order = matching.SortedRows();
  for (size_t i = 0; i < args.r; ++i) {
    const int32_t row_of_b = matching.match(order[i]).row_of_b;
    args.out_source[entry * args.r + i] = place(order[i]);
    args.out_destination[entry * args.r + i] =
        static_cast<int32_t>(matching.first_b()) + 2 * row_of_b;
  }
  for (size_t i = 0; i < stay; ++i) unmerged[i] = place(order[args.r + i]);
}

}  // namespace

size_t CountA(size_t tokens, size_t protected_tokens) {
  return (tokens - protected_tokens + 1 - protected_tokens % 2) / 2;
}

void BipartiteSoftMatching(const BipartiteSoftMatchingArgs& args, const Workers& workers) {
  const Kernels& kernels = ActiveKernels();
  const Shape& shape = args.shape;
  LocateNotFinite(args.metric, shape, BipartiteSoftMatchingArgs::kNames, [&] {
    // Each thread keeps the memory of one entry, which stays in a cache, for all of its entries.
    std::vector<Matching> lanes;
    const auto match = [&](size_t i, Matching& entry, const Workers& own) {
      const std::span<Matching> one(&entry, 1);
      entry.Start(shape.rows, shape.width, args.protected_tokens, nullptr, kernels);
      ReadMetric(args.metric.From(i * shape.rows * shape.width), {1, shape.rows, shape.width}, 1,
                 kernels, own, one);
      if (args.r > 0) Matching::MatchAll(one, true, own);
      WriteMatches(args, entry, i);
      if (args.r > 0) Matching::MergeAll(one, args.r, false, own);
      std::ranges::copy(entry.assignment(), args.out_assignment + i * shape.rows);
    };
    ForItems(shape.batch, workers, lanes, match, Matching::Products(shape.rows, shape.width));
  });
}

}  // namespace longvlm
