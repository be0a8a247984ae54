#include "core/aim.h"

#include <algorithm>
#include <numeric>
#include <span>

#include "core/best_cosines.h"
#include "core/cosine_rows.h"
#include "core/lanes.h"
#include "core/matching.h"
#include "core/merge_by_assignment.h"
#include "core/metric.h"
#include "core/read_rows.h"
#include "core/result_rows.h"

namespace longvlm {
namespace {

struct Lane {
  Matching matching;
  CosineRows a, b;
  std::vector<uint32_t> rows_of_a, rows_of_b;
  std::vector<BestCosinesScratch> scratch;
  std::vector<int32_t> assignment;
  std::vector<SlotRows> slots;
  std::vector<std::byte> merged[2];  // what is left, of even and of odd steps
  // Of each token that is left: where it stands, and how many it stands for.
  std::vector<uint32_t> places, next_places;
  std::vector<float> sizes, next_sizes;
  std::vector<int32_t> owners;  // of each token of the frame: which of those left it went into
};

// Places and sizes after a step: tokens of B are the last ones, and keep their places; a token of A
// that is alone keeps its own.
void Follow(std::span<const int32_t> assignment, size_t kept, Lane& lane) {
  const size_t first_of_b = kept - assignment.size() / 2;
  lane.next_places.assign(kept, 0);
  lane.next_sizes.assign(kept, 0);
  for (size_t token = 0; token < assignment.size(); ++token) {
    const auto slot = static_cast<size_t>(assignment[token]);
    lane.next_sizes[slot] += lane.sizes[token];
    if (token % 2 == 1 || slot < first_of_b) lane.next_places[slot] = lane.places[token];
  }
  lane.places.swap(lane.next_places);
  lane.sizes.swap(lane.next_sizes);
  for (int32_t& owner : lane.owners) owner = assignment[static_cast<size_t>(owner)];
}

// Where tokens go when all of A merge, `count` / 2 of them, so that the order of A has no meaning:
// as Matching says.
void MatchAllOfA(const RowReader& tokens, size_t count, size_t width, const Workers& workers,
                 Lane& lane) {
  const Kernels& kernels = ActiveKernels();
  lane.rows_of_a.resize(count / 2);
  lane.rows_of_b.resize(count / 2);
  for (uint32_t i = 0; i < count / 2; ++i) {
    lane.rows_of_a[i] = 2 * i;
    lane.rows_of_b[i] = 2 * i + 1;
  }
  lane.a.Set(tokens, width, lane.rows_of_a, kernels.width_a, kernels, workers);
  lane.b.Set(tokens, width, lane.rows_of_b, kernels.width_b, kernels, workers);
  lane.assignment.resize(count);
  ForBlocks(lane.a.panels(), workers, lane.scratch, [&](size_t i, BestCosinesScratch& scratch) {
    int32_t match[kMostPanelWidth];
    FindBestCosines(lane.a, i, lane.b, Choice::kEqualFirst, kernels, scratch, nullptr, match);
    const size_t first = i * kernels.width_a;
    for (size_t row = first; row < std::min(first + kernels.width_a, count / 2); ++row) {
      lane.assignment[2 * row] = match[row - first];
      lane.assignment[2 * row + 1] = static_cast<int32_t>(row);
    }
  });
}

void MatchSomeOfA(const ConstValues& tokens, size_t count, size_t merged, size_t width,
                  const Workers& workers, Lane& lane) {
  const std::span<Matching> one(&lane.matching, 1);
  lane.matching.Start(count, width, 0, nullptr, ActiveKernels());
  ReadMetric(tokens, {1, count, width}, 1, ActiveKernels(), workers, one);
  Matching::MatchAll(one, true, workers);
  Matching::MergeAll(one, merged, false, workers);
  const std::span<const int32_t> assignment = lane.matching.assignment();
  lane.assignment.assign(assignment.begin(), assignment.end());
}

// One step: `count` tokens become `kept`, in the memory that is returned.
Values Merge(const ConstValues& tokens, size_t count, size_t kept, size_t width, size_t step,
             const Workers& workers, Lane& lane) {
  if (2 * kept == count) {
    MatchAllOfA({tokens, width, ActiveKernels()}, count, width, workers, lane);
  } else {
    MatchSomeOfA(tokens, count, count - kept, width, workers, lane);
  }
  std::vector<std::byte>& merged = lane.merged[step % 2];
  merged.resize(kept * width * SizeOf(tokens.type));
  const Values out(tokens.type, merged.data());
  MergeByAssignment({.rows = tokens,
                     .shape = {1, count, width},
                     .slots = kept,
                     .assignment = lane.assignment.data(),
                     .weights = nullptr,
                     .mode = MergeMode::kMean,
                     .out = out,
                     .out_sums = nullptr},
                    workers, lane.slots);
  Follow(lane.assignment, kept, lane);
  return out;
}

void MergeFrame(const AimArgs& args, size_t frame, const ResultRows& out, const Workers& workers,
                Lane& lane) {
  const Shape& shape = args.shape;
  ConstValues left = args.tokens.From(frame * shape.rows * shape.width);
  size_t count = shape.rows;
  lane.places.resize(count);
  std::iota(lane.places.begin(), lane.places.end(), 0u);
  lane.sizes.assign(count, 1);
  lane.owners.resize(count);
  std::iota(lane.owners.begin(), lane.owners.end(), 0);
  for (size_t step = 0; step < args.schedule.size(); ++step) {
    const size_t kept = count - args.schedule[step];
    left = Merge(left, count, kept, shape.width, step, workers, lane);
    count = kept;
  }
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t slot) { return lane.places[slot]; });
  const RowReader rows{left, shape.width, ActiveKernels()};
  std::vector<float> scratch(shape.width);
  std::vector<int32_t> kept_of(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t to = frame * args.kept + i;
    CheckFinite(rows.Row(order[i], scratch.data()), shape.width);
    out.Copy(left, order[i], to);
    args.out_indices[to] = static_cast<int32_t>(frame * shape.rows + lane.places[order[i]]);
    args.out_sizes[to] = lane.sizes[order[i]];
    kept_of[order[i]] = static_cast<int32_t>(to);
  }
  std::ranges::transform(lane.owners, args.out_owners + frame * shape.rows,
                         [&](int32_t owner) { return kept_of[static_cast<size_t>(owner)]; });
}

}  // namespace

void Aim(const AimArgs& args, const Workers& workers) {
  std::vector<Lane> lanes;
  const ResultRows out{args.out, args.shape.batch * args.kept, args.shape.width, ActiveKernels()};
  LocateNotFinite(args.tokens, args.shape, AimArgs::kNames, [&] {
    ForItems(
        args.shape.batch, workers, lanes,
        [&](size_t frame, Lane& lane, const Workers& own) {
          MergeFrame(args, frame, out, own, lane);
        },
        Matching::Products(args.shape.rows, args.shape.width));
  });
}

}  // namespace longvlm
