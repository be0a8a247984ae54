#include "core/flash_vid_matches.h"

#include <algorithm>
#include <numeric>

#include "core/lanes.h"
#include "core/row_products.h"
#include "core/select_diverse.h"
#include "core/word_matrix.h"

namespace longvlm {
namespace {

using Frame = FlashVidFrame;

// Attention is scaled by it before distances are, as in the reference.
constexpr float kAttentionScale = 1e6f;

// Frames that are taken to be like one of which words have not told tokens apart.
constexpr size_t kLikeTheLast = 7;

struct Lane {
  CosineRows units[2];  // of frames of even and of odd number
  WordMatrix words;
  size_t unscreened = 0;  // frames that words need not be tried for
  RowProducts rows;
  TimeMatchScratch matches;
  std::vector<float> weights;
  std::vector<uint32_t> chosen;
};

void ReadUnits(const FlashVidArgs& args, const RowReader& tokens, size_t index,
               const Workers& workers, Lane& lane) {
  const Kernels& kernels = ActiveKernels();
  std::vector<uint32_t> rows(args.shape.rows);
  std::iota(rows.begin(), rows.end(), static_cast<uint32_t>(index * rows.size()));
  lane.units[index % 2].Set(tokens, args.shape.width, rows, kernels.width_a, kernels, workers);
}

bool MergesOverTime(const FlashVidArgs& args) {
  return args.picked < args.budget && args.temporal_threshold < 1;
}

// Those of a frame that are far from each other.
void PickDiverse(const FlashVidArgs& args, const RowReader& tokens, uint32_t first,
                 const CosineRows& units, const Workers& workers, Lane& lane, Frame& frame) {
  const size_t patches = args.shape.rows;
  const Kernels& kernels = ActiveKernels();
  const bool by_words = args.attention == nullptr && units.has_words() &&
                        patches <= WordMatrix::kMostRows && lane.unscreened == 0;
  if (lane.unscreened > 0) --lane.unscreened;
  if (by_words) {
    lane.words.Multiply(units, kernels, workers);
    frame.nearest = NearestCosines(lane.words);
    if (SelectDiverseByWords(lane.words, args.picked, lane.chosen)) return;
    lane.unscreened = kLikeTheLast;
  }
  lane.rows.Start(patches, args.shape.width, kernels);
  tokens.ReadUnits(first, patches, lane.rows.row(0), workers);
  lane.rows.Multiply(workers);
  if (args.attention != nullptr) {
    lane.weights.resize(patches);
    for (size_t i = 0; i < patches; ++i) {
      lane.weights[i] = args.attention[first + i] * kAttentionScale;
    }
  }
  SelectDiverse(lane.rows, args.attention == nullptr ? nullptr : lane.weights.data(), args.picked,
                workers, lane.chosen);
}

void PickTokens(const FlashVidArgs& args, const RowReader& tokens, size_t index,
                const Workers& workers, Lane& lane, Frame& frame) {
  const size_t patches = args.shape.rows;
  const auto first = static_cast<uint32_t>(index * patches);
  const bool by_words = args.picked > 0 && args.attention == nullptr;
  if (by_words || MergesOverTime(args)) ReadUnits(args, tokens, index, workers, lane);
  lane.chosen.clear();
  if (args.picked > 0) {
    PickDiverse(args, tokens, first, lane.units[index % 2], workers, lane, frame);
    std::ranges::sort(lane.chosen);
  }
  size_t next = 0;
  for (uint32_t patch = 0; patch < patches; ++patch) {
    if (next < lane.chosen.size() && lane.chosen[next] == patch) {
      frame.picked.push_back(first + patch);
      ++next;
    } else {
      frame.others.push_back(first + patch);
      frame.numbers.push_back(patch);
    }
  }
}

// Matches a frame with the one before; the lane has the rows of both.
void MatchFrame(const FlashVidArgs& args, size_t index, const Workers& workers, Lane& lane,
                std::vector<Frame>& frames) {
  const Frame& before = frames[index - 1];
  Frame& frame = frames[index];
  MatchOverTime({lane.units[index % 2], frame.numbers},
                {lane.units[(index - 1) % 2], before.numbers}, before.nearest,
                args.temporal_threshold, ActiveKernels(), workers, lane.matches, frame.matches);
}

// Picks tokens of all frames, and matches the others with those of the frame before. A lane takes
// several frames in a row, so that it has the frame before; at its first frame it has not.
void PickAndMatchInRuns(const FlashVidArgs& args, const RowReader& tokens, const Workers& workers,
                        std::vector<Lane>& lanes, std::vector<Frame>& frames) {
  constexpr size_t kMostInARow = 8;
  const size_t count = frames.size();
  const size_t threads = std::min(workers.threads(), count);
  const bool whole = ItemsFillThreads(count, workers.threads()) &&
                     ProductsOfAll(args.shape.rows, args.shape.width) <= kMostProducts;
  const size_t rounds = (count + kMostInARow * threads - 1) / (kMostInARow * threads);
  const size_t runs = whole ? std::min(threads * rounds, count) : 1;
  const auto first_of = [&](size_t run) { return run * count / runs; };
  const auto matches = [&](size_t i) { return MergesOverTime(args) && args.out_starts[i] == 0; };
  ForItems(runs, workers, lanes, [&](size_t run, Lane& lane, const Workers& own) {
    for (size_t i = first_of(run); i < first_of(run + 1); ++i) {
      PickTokens(args, tokens, i, own, lane, frames[i]);
      if (matches(i) && i > first_of(run)) MatchFrame(args, i, own, lane, frames);
    }
  });
  ForItems(runs, workers, lanes, [&](size_t run, Lane& lane, const Workers& own) {
    const size_t i = first_of(run);
    if (i == 0 || !matches(i)) return;
    ReadUnits(args, tokens, i - 1, own, lane);
    ReadUnits(args, tokens, i, own, lane);
    MatchFrame(args, i, own, lane, frames);
  });
}

// Where not all that are alike may merge, the order of their cosines decides.
void MakeExactWhereNeeded(const FlashVidArgs& args, const RowReader& tokens, const Workers& workers,
                          std::vector<Lane>& lanes, std::vector<Frame>& frames) {
  std::vector<size_t> inexact;
  ForSegments(args, frames, [&](std::span<Frame> own) {
    if (!MergesTooMany(args, own)) return;
    for (const Frame& frame : own.subspan(1)) {
      inexact.push_back(static_cast<size_t>(&frame - frames.data()));
    }
  });
  if (inexact.empty()) return;
  ForItems(inexact.size(), workers, lanes, [&](size_t i, Lane& lane, const Workers& own) {
    Frame& frame = frames[inexact[i]];
    MakeExact(tokens, args.shape.width, frame.others, frames[inexact[i] - 1].others,
              ActiveKernels(), own, lane.matches, frame.matches);
  });
}

}  // namespace

// How many tokens of a segment may merge over time, so that its budget is left, picked ones among
// it.
size_t MostMerged(const FlashVidArgs& args, std::span<const Frame> frames) {
  return frames.size() * (args.shape.rows - args.budget);
}

bool MergesTooMany(const FlashVidArgs& args, std::span<const Frame> frames) {
  size_t merging = 0;
  for (const Frame& frame : frames) {
    merging += static_cast<size_t>(std::ranges::count_if(
        frame.matches.best, [&](float cosine) { return cosine > args.temporal_threshold; }));
  }
  return merging > MostMerged(args, frames);
}

void PickAndMatch(const FlashVidArgs& args, const RowReader& tokens, const Workers& workers,
                  std::vector<Frame>& frames) {
  std::vector<Lane> lanes;
  PickAndMatchInRuns(args, tokens, workers, lanes, frames);
  MakeExactWhereNeeded(args, tokens, workers, lanes, frames);
}

}  // namespace longvlm
