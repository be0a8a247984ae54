#include "core/fast_vid.h"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "core/assign_to_anchors.h"
#include "core/density_peaks.h"
#include "core/frame_means.h"
#include "core/highest.h"
#include "core/lanes.h"
#include "core/read_rows.h"
#include "core/result_rows.h"
#include "core/segment_frames.h"

namespace longvlm {
namespace {

// The nearest neighbours that make a density.
constexpr size_t kNeighbours = 4;
// Anchor frames that a segment's tokens are assigned to in one read of them.
constexpr size_t kFramesAtOnce = 16;

struct Frame {
  size_t segment_first = 0;
  size_t segment_last = 0;
  size_t anchors = 0;                   // how many; 0 if it is no anchor frame
  bool own_only = false;                // its anchors take this frame's tokens alone
  std::vector<uint32_t> rest;           // tokens that are not salient, ascending
  std::vector<uint32_t> anchor_tokens;  // the highest score first
  std::vector<size_t> anchor_slots;     // where each of them stands in the output
};

struct Lane : PeaksScratch {
  std::vector<uint64_t> keys;
  std::vector<uint32_t> best;
};

void FindSegments(const FastVidArgs& args, const Workers& workers, std::vector<Frame>& frames) {
  // Also where they are not needed: they show whether all tokens are finite.
  std::vector<float> means;
  FrameMeans(args.tokens, args.shape, workers, means);
  std::vector<float> cosines(args.shape.batch - 1);
  const SegmentFramesArgs segment{
      .features = args.frame_features == nullptr ? means.data() : args.frame_features,
      .frames = args.shape.batch,
      .width = args.frame_features == nullptr ? args.shape.width : args.feature_width,
      .threshold = args.threshold,
      .segments = args.segments,
      .out_cosines = cosines.data(),
      .out_starts = args.out_starts};
  SegmentFrames(segment, workers);
  const std::vector<size_t> bounds =
      SegmentBounds({args.out_starts, args.out_starts + args.shape.batch});
  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    const size_t length = bounds[i + 1] - bounds[i];
    const size_t anchor_frames = (length + args.anchor_step - 1) / args.anchor_step;
    const size_t anchors = args.context * length / anchor_frames;
    for (size_t frame = bounds[i]; frame < bounds[i + 1]; ++frame) {
      frames[frame].segment_first = bounds[i];
      frames[frame].segment_last = bounds[i + 1];
      if ((bounds[i + 1] - 1 - frame) % args.anchor_step != 0) continue;
      frames[frame].anchors = std::min(anchors, args.shape.rows - args.salient);
      // As in the authors' code: frames that keep just their own share merge for themselves.
      frames[frame].own_only = anchors == args.context;
    }
  }
}

// Of the tokens of a frame that are not salient.
void FindPeaks(const FastVidArgs& args, const RowReader& tokens, const std::vector<uint32_t>& rest,
               const Workers& workers, Lane& lane) {
  const Kernels& kernels = ActiveKernels();
  const bool found = lane.TryWords(rest.size(), args.shape.width, [&] {
    lane.units.Set(tokens, args.shape.width, rest, kernels.width_a, kernels, workers);
    return FindDensityPeaksByWords(lane.units, kNeighbours, kernels, workers, lane.words,
                                   lane.peaks);
  });
  if (found) return;
  lane.rows.Start(rest.size(), args.shape.width, kernels);
  workers.For(rest.size(), [&](size_t i) { tokens.Read(rest[i], 1, lane.rows.row(i)); });
  lane.rows.Multiply(workers);
  FindDensityPeaks(lane.rows, kNeighbours, Rounding::kExact, workers, lane.peaks);
}

// The salient tokens of a frame, ascending; fills in the others, and the anchors.
std::vector<uint32_t> PickTokens(const FastVidArgs& args, const RowReader& tokens, size_t index,
                                 const Workers& workers, Lane& lane, Frame& frame) {
  const size_t patches = args.shape.rows;
  const size_t first = index * patches;
  FindHighest({args.attention + first, patches}, args.salient, lane.keys, lane.best);
  std::ranges::sort(lane.best);
  std::vector<uint32_t> salient;
  for (const uint32_t patch : lane.best) salient.push_back(static_cast<uint32_t>(first) + patch);
  for (size_t patch = 0, next = 0; patch < patches; ++patch) {
    if (next < lane.best.size() && lane.best[next] == patch) {
      ++next;
    } else {
      frame.rest.push_back(static_cast<uint32_t>(first + patch));
    }
  }
  if (frame.anchors == 0) return salient;
  FindPeaks(args, tokens, frame.rest, workers, lane);
  FindCentres(lane.peaks, frame.anchors, Rounding::kExact, lane.best);
  for (const uint32_t i : lane.best) frame.anchor_tokens.push_back(frame.rest[i]);
  return salient;
}

// Writes the salient tokens, and gives each anchor its place among them. Returns the tokens kept.
size_t PlaceTokens(const FastVidArgs& args, const std::vector<std::vector<uint32_t>>& salient,
                   std::vector<Frame>& frames, const Workers& workers) {
  size_t kept = 0;
  const size_t bound = args.shape.batch * (args.salient + args.context);
  const ResultRows out{args.out, bound, args.shape.width, ActiveKernels()};
  std::vector<std::pair<uint32_t, size_t>> copies;  // a token, and where it goes
  for (size_t i = 0; i < frames.size(); ++i) {
    Frame& frame = frames[i];
    std::vector<std::pair<uint32_t, int64_t>> order;  // a token, and its number if it is an anchor
    for (const uint32_t token : salient[i]) order.emplace_back(token, -1);
    for (size_t a = 0; a < frame.anchor_tokens.size(); ++a) {
      order.emplace_back(frame.anchor_tokens[a], static_cast<int64_t>(a));
    }
    std::ranges::sort(order);
    frame.anchor_slots.resize(frame.anchor_tokens.size());
    for (const auto& [token, anchor] : order) {
      args.out_indices[kept] = static_cast<int32_t>(token);
      if (anchor < 0) {
        copies.emplace_back(token, kept);
        args.out_sizes[kept] = 1;
        args.out_owners[token] = static_cast<int32_t>(kept);
      } else {
        frame.anchor_slots[static_cast<size_t>(anchor)] = kept;
      }
      ++kept;
    }
  }
  constexpr size_t kRowsPerBlock = 16;
  workers.For((copies.size() + kRowsPerBlock - 1) / kRowsPerBlock, [&](size_t block) {
    const size_t last = std::min((block + 1) * kRowsPerBlock, copies.size());
    for (size_t i = block * kRowsPerBlock; i < last; ++i) {
      out.Copy(args.tokens, copies[i].first, copies[i].second);
    }
  });
  return kept;
}

// Of the frames of a segment with anchors the nearest to one of its frames, of two the earlier one.
size_t NearestAnchorFrame(const std::vector<Frame>& frames, size_t frame) {
  size_t before = frame;
  while (frames[before].anchors == 0 && before > frames[frame].segment_first) --before;
  size_t after = frame;
  while (frames[after].anchors == 0 && after + 1 < frames[frame].segment_last) ++after;
  if (frames[before].anchors == 0) return after;
  return frames[after].anchors > 0 && after - frame < frame - before ? after : before;
}

// Notes which anchors of a frame tokens went into, where no other anchor frame is nearer.
void SetOwners(const FastVidArgs& args, const std::vector<Frame>& frames, size_t anchor_frame,
               std::span<const uint32_t> rows, std::span<const int32_t> assigned) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (NearestAnchorFrame(frames, rows[i] / args.shape.rows) != anchor_frame) continue;
    args.out_owners[rows[i]] =
        static_cast<int32_t>(frames[anchor_frame].anchor_slots[static_cast<size_t>(assigned[i])]);
  }
}

// Blends tokens into the anchors of some frames of one segment: of each the tokens of its own, or
// all of the segment.
void BlendInto(const FastVidArgs& args, const RowReader& tokens, const std::vector<Frame>& frames,
               std::span<const size_t> anchor_frames, const Workers& workers,
               std::vector<TokenPanel>& token_panels) {
  const Kernels& kernels = ActiveKernels();
  std::vector<Anchors> anchors(anchor_frames.size());
  for (size_t i = 0; i < anchors.size(); ++i) {
    anchors[i].Set(tokens, args.shape.width, frames[anchor_frames[i]].anchor_tokens, kernels,
                   workers);
  }
  const Frame& any = frames[anchor_frames.front()];
  std::vector<uint32_t> rest;
  const size_t rest_of_frame = any.rest.size();
  for (size_t frame = any.segment_first; frame < any.segment_last; ++frame) {
    rest.insert(rest.end(), frames[frame].rest.begin(), frames[frame].rest.end());
  }
  // The tokens that an anchor frame takes: their first and their number among `rest`.
  const auto taken = [&](size_t i) -> std::pair<size_t, size_t> {
    if (!any.own_only) return {0, rest.size()};
    return {(anchor_frames[i] - any.segment_first) * rest_of_frame, rest_of_frame};
  };
  std::vector<std::vector<int32_t>> assigned(anchors.size(), std::vector<int32_t>(rest.size()));
  const size_t panels = (rest_of_frame + kernels.width_a - 1) / kernels.width_a;
  const size_t blocks = (any.segment_last - any.segment_first) * panels;
  ForBlocks(blocks, workers, token_panels, [&](size_t block, TokenPanel& panel) {
    const size_t frame_first = block / panels * rest_of_frame;
    const size_t first = frame_first + block % panels * kernels.width_a;
    const size_t count = std::min(kernels.width_a, frame_first + rest_of_frame - first);
    bool read = false;
    for (size_t i = 0; i < anchors.size(); ++i) {
      const auto [begin, size] = taken(i);
      if (first < begin || first >= begin + size) continue;
      if (!read)
        panel.Set(tokens, args.shape.width, std::span(rest).subspan(first, count), kernels);
      read = true;
      anchors[i].Match(panel, nullptr, assigned[i].data() + first);
    }
  });
  workers.For(anchors.size(), [&](size_t i) {
    const auto [begin, size] = taken(i);
    const auto rows = std::span<const uint32_t>(rest).subspan(begin, size);
    const auto assigned_to = std::span<const int32_t>(assigned[i]).subspan(begin, size);
    anchors[i].Group(rows, assigned_to);
    SetOwners(args, frames, anchor_frames[i], rows, assigned_to);
  });
  workers.For(anchors.size() * any.anchors, [&](size_t task) {
    const size_t i = task / any.anchors;
    const size_t anchor = task % any.anchors;
    const size_t slot = frames[anchor_frames[i]].anchor_slots[anchor];
    anchors[i].WriteBlend(anchor, args.tokens, args.beta, args.out, slot);
    args.out_sizes[slot] = static_cast<float>(std::max<size_t>(anchors[i].count(anchor), 1));
  });
}

}  // namespace

void FastVid(const FastVidArgs& args, const Workers& workers) {
  const Shape& shape = args.shape;
  LocateNotFinite(args.tokens, shape, FastVidArgs::kNames, [&] {
    const RowReader tokens{args.tokens, shape.width, ActiveKernels()};
    std::fill_n(args.out_owners, shape.batch * shape.rows, -1);
    std::vector<Frame> frames(shape.batch);
    FindSegments(args, workers, frames);
    std::vector<std::vector<uint32_t>> salient(shape.batch);
    std::vector<Lane> lanes;
    ForItems(
        shape.batch, workers, lanes,
        [&](size_t i, Lane& lane, const Workers& own) {
          salient[i] = PickTokens(args, tokens, i, own, lane, frames[i]);
        },
        ProductsOfAll(shape.rows, shape.width));
    *args.out_count = static_cast<int32_t>(PlaceTokens(args, salient, frames, workers));
    std::vector<TokenPanel> token_panels;
    for (size_t first = 0; first < shape.batch; first = frames[first].segment_last) {
      std::vector<size_t> anchor_frames;
      for (size_t frame = first; frame < frames[first].segment_last; ++frame) {
        if (frames[frame].anchors > 0) anchor_frames.push_back(frame);
      }
      for (size_t i = 0; i < anchor_frames.size(); i += kFramesAtOnce) {
        const size_t count = std::min(kFramesAtOnce, anchor_frames.size() - i);
        BlendInto(args, tokens, frames, std::span(anchor_frames).subspan(i, count), workers,
                  token_panels);
      }
    }
  });
}

}  // namespace longvlm
