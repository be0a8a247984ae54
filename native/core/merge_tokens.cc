#include "core/merge_tokens.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "core/matching.h"
#include "core/merge_by_assignment.h"
#include "core/metric.h"

namespace longvlm {
namespace {

constexpr TensorNames kNames{"tokens", {"segment", "token", "channel"}};

// Whether threads that take a whole segment each are busy most of the time. A segment's second read
// then comes from cache.
bool SegmentsFillThreads(size_t segments, size_t threads) {
  const size_t rounds = (segments + threads - 1) / threads;
  return segments * 10 >= rounds * threads * 9;
}

// `segments` as for ReadMetric.
void MergeSegments(const MergeTokensArgs& args, const Workers& workers,
                   std::vector<Matching>& segments) {
  ReadMetric(args.tokens, args.shape, args.heads, workers, segments);
  for (const uint32_t wanted : args.schedule) {
    const size_t r = std::min<size_t>(wanted, segments.front().num_b());
    if (r == 0) continue;
    Matching::MatchAll(segments, workers);
    workers.For(segments.size(), [&](size_t i) { segments[i].Merge(r); });
  }
  for (size_t i = 0; i < segments.size(); ++i) {
    std::ranges::copy(segments[i].assignment(), args.out_assignment + i * args.shape.rows);
  }
  MergeByAssignment(
      {
          .rows = args.tokens,
          .shape = args.shape,
          .slots = segments.front().tokens(),
          .assignment = args.out_assignment,
          .weights = nullptr,
          .mode = MergeMode::kMean,
          .out = args.out,
          .out_sums = args.out_sizes,
      },
      workers);
}

MergeTokensArgs Segment(const MergeTokensArgs& all, size_t index) {
  const Shape& shape = all.shape;
  const size_t kept = KeptTokens(shape.rows, all.schedule);
  MergeTokensArgs one = all;
  one.shape.batch = 1;
  std::visit([&](const auto* from) { one.tokens = from + index * shape.rows * shape.width; },
             all.tokens);
  std::visit([&](auto* to) { one.out = to + index * kept * shape.width; }, all.out);
  one.out_sizes = all.out_sizes + index * kept;
  one.out_assignment = all.out_assignment + index * shape.rows;
  return one;
}

}  // namespace

size_t KeptTokens(size_t tokens, const std::vector<uint32_t>& schedule) {
  for (const uint32_t r : schedule) tokens -= std::min<size_t>(r, tokens / 2);
  return tokens;
}

void MergeTokens(const MergeTokensArgs& args, const Workers& workers) {
  LocateNotFinite(args.tokens, args.shape, kNames, [&] {
    const size_t threads = workers.threads();
    if (!SegmentsFillThreads(args.shape.batch, threads)) {
      std::vector<Matching> segments;
      MergeSegments(args, workers, segments);
      return;
    }
    const Workers alone{nullptr, workers.cancelled};
    std::atomic<size_t> next{0};
    workers.For(std::min(threads, args.shape.batch), [&](size_t) {
      std::vector<Matching> segment;
      for (size_t i; (i = next.fetch_add(1)) < args.shape.batch;) {
        MergeSegments(Segment(args, i), alone, segment);
      }
    });
  });
}

}  // namespace longvlm
