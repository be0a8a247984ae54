#include "core/merge_tokens.h"

#include <algorithm>
#include <span>

#include "core/bytes_of.h"
#include "core/lanes.h"
#include "core/metric.h"

namespace longvlm {
size_t KeptTokens(size_t tokens, size_t protected_tokens, const std::vector<uint32_t>& schedule) {
  for (const uint32_t r : schedule) tokens -= std::min<size_t>(r, (tokens - protected_tokens) / 2);
  return tokens;
}

void TokenMerger::MergeSegments(const MergeTokensArgs& args, size_t first, size_t count,
                                const Workers& workers, Lane& lane) const {
  const Kernels& kernels = ActiveKernels();
  const Shape shape{count, args.shape.rows, args.shape.width};
  const size_t kept = KeptTokens(shape.rows, args.protected_tokens, args.schedule);
  const size_t first_row = first * shape.rows;
  const float* sizes = args.sizes == nullptr ? nullptr : args.sizes + first_row;
  const ConstValues tokens = args.tokens.From(first_row * shape.width);
  const Values out = args.out.From(first * kept * shape.width);

  if (lane.segments.size() < count) lane.segments.resize(count);
  const std::span<Matching> segments(lane.segments.data(), count);
  for (size_t i = 0; i < count; ++i) {
    segments[i].Start(shape.rows, shape.width / args.heads, args.protected_tokens,
                      sizes == nullptr ? nullptr : sizes + i * shape.rows, kernels);
  }
  ReadMetric(tokens, shape, args.heads, kernels, workers, segments);
  for (const uint32_t wanted : args.schedule) {
    const size_t r = std::min<size_t>(wanted, segments.front().max_r());
    if (r == 0) continue;
    Matching::MatchAll(segments, r < segments.front().num_a(), workers);
    Matching::MergeAll(segments, r, segments.front().tokens() - r > kept, workers);
  }
  int32_t* assignment = args.out_assignment + first_row;
  for (size_t i = 0; i < count; ++i) {
    std::ranges::copy(segments[i].assignment(), assignment + i * shape.rows);
  }
  MergeByAssignment(
      {
          .rows = tokens,
          .shape = shape,
          .slots = kept,
          .assignment = assignment,
          .weights = sizes,
          .mode = MergeMode::kMean,
          .out = out,
          .out_sums = args.out_sizes + first * kept,
      },
      workers, lane.slot_rows);
}

void TokenMerger::Merge(const MergeTokensArgs& args, const Workers& workers) {
  LocateNotFinite(args.tokens, args.shape, MergeTokensArgs::kNames, [&] {
    const size_t segments = args.shape.batch;
    const size_t products = Matching::Products(args.shape.rows, args.shape.width / args.heads);
    if (!ItemsFillThreads(segments, workers.threads()) || products > kMostProducts) {
      if (lanes_.empty()) lanes_.resize(1);
      MergeSegments(args, 0, segments, workers, lanes_.front());
      return;
    }
    ForItems(segments, workers, lanes_, [&](size_t i, Lane& lane, const Workers& alone) {
      MergeSegments(args, i, 1, alone, lane);
    });
  });
}

size_t TokenMerger::memory() const {
  size_t bytes = 0;
  for (const Lane& lane : lanes_) {
    for (const Matching& segment : lane.segments) bytes += segment.memory();
    for (const SlotRows& rows : lane.slot_rows) {
      bytes += BytesOf(rows.first, rows.offsets, rows.weights, rows.total);
    }
  }
  return bytes;
}

void MergeTokens(const MergeTokensArgs& args, const Workers& workers) {
  TokenMerger().Merge(args, workers);
}

}  // namespace longvlm
