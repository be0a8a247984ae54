#include "core/bipartite_soft_matching.h"

#include <algorithm>
#include <vector>

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
    std::vector<Matching> entries(shape.batch);
    for (Matching& entry : entries) {
      entry.Start(shape.rows, shape.width, args.protected_tokens, nullptr, kernels);
    }
    ReadMetric(args.metric, shape, 1, kernels, workers, entries);
    if (args.r > 0) Matching::MatchAll(entries, true, workers);
    workers.For(shape.batch, [&](size_t i) { WriteMatches(args, entries[i], i); });
    if (args.r > 0) Matching::MergeAll(entries, args.r, false, workers);
    for (size_t i = 0; i < shape.batch; ++i) {
      std::ranges::copy(entries[i].assignment(), args.out_assignment + i * shape.rows);
    }
  });
}

}  // namespace longvlm
