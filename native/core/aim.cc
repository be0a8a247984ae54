#include "core/aim.h"

#include <algorithm>
#include <numeric>
#include <span>

#include "core/lanes.h"
#include "core/matching.h"
#include "core/merge_by_assignment.h"
#include "core/metric.h"
#include "core/read_rows.h"

namespace longvlm {
namespace {

struct Lane {
  Matching matching;
  std::vector<SlotRows> slots;
  std::vector<std::byte> merged[2];  // what is left, of even and of odd steps
  // Of each token that is left: where it stands, and how many it stands for.
  std::vector<uint32_t> places, next_places;
  std::vector<float> sizes, next_sizes;
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
}

// One step: `count` tokens become `kept`, in the memory that is returned.
Values Merge(const ConstValues& tokens, size_t count, size_t kept, size_t width, size_t step,
             const Workers& workers, Lane& lane) {
  const std::span<Matching> one(&lane.matching, 1);
  lane.matching.Start(count, width, 0, nullptr, ActiveKernels());
  ReadMetric(tokens, {1, count, width}, 1, ActiveKernels(), workers, one);
  Matching::MatchAll(one, true, workers);
  Matching::MergeAll(one, count - kept, false, workers);
  std::vector<std::byte>& merged = lane.merged[step % 2];
  merged.resize(kept * width * SizeOf(tokens.type));
  const Values out(tokens.type, merged.data());
  MergeByAssignment({.rows = tokens,
                     .shape = {1, count, width},
                     .slots = kept,
                     .assignment = lane.matching.assignment().data(),
                     .weights = nullptr,
                     .mode = MergeMode::kMean,
                     .out = out,
                     .out_sums = nullptr},
                    workers, lane.slots);
  Follow(lane.matching.assignment(), kept, lane);
  return out;
}

void MergeFrame(const AimArgs& args, size_t frame, const Workers& workers, Lane& lane) {
  const Shape& shape = args.shape;
  ConstValues left = args.tokens.From(frame * shape.rows * shape.width);
  size_t count = shape.rows;
  lane.places.resize(count);
  std::iota(lane.places.begin(), lane.places.end(), 0u);
  lane.sizes.assign(count, 1);
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
  for (size_t i = 0; i < count; ++i) {
    const size_t to = frame * args.kept + i;
    CheckFinite(rows.Row(order[i], scratch.data()), shape.width);
    rows.Copy(order[i], args.out, to);
    args.out_indices[to] = static_cast<int32_t>(frame * shape.rows + lane.places[order[i]]);
    args.out_sizes[to] = lane.sizes[order[i]];
  }
}

}  // namespace

void Aim(const AimArgs& args, const Workers& workers) {
  std::vector<Lane> lanes;
  LocateNotFinite(args.tokens, args.shape, AimArgs::kNames, [&] {
    ForItems(
        args.shape.batch, workers, lanes,
        [&](size_t frame, Lane& lane, const Workers& own) { MergeFrame(args, frame, own, lane); },
        Matching::Products(args.shape.rows, args.shape.width));
  });
}

}  // namespace longvlm
