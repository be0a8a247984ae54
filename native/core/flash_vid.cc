#include "core/flash_vid.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "core/density_peaks.h"
#include "core/flash_vid_matches.h"
#include "core/frame_means.h"
#include "core/lanes.h"
#include "core/read_rows.h"
#include "core/result_rows.h"
#include "core/row_means.h"
#include "core/segment_frames.h"
#include "core/share_whole.h"

namespace longvlm {
namespace {

using Frame = FlashVidFrame;

constexpr size_t kNeighbours = 7;
constexpr float kNoMatch = -1;

struct Lane : PeaksScratch {
  std::vector<uint32_t> chosen, cluster_of;
};

// The tokens that became one over time: which, and by what their sum is divided.
struct Tracks {
  std::vector<std::vector<size_t>> members;  // offsets, of each token that is left
  std::vector<uint32_t> children;            // of each token
};

// The cosine above which tokens of a segment merge with the frame before: the option, or more where
// that would leave less than the segment's budget, picked tokens among it.
float MergeAbove(const FlashVidArgs& args, std::span<const Frame> frames) {
  if (!MergesTooMany(args, frames)) return args.temporal_threshold;
  const size_t most = MostMerged(args, frames);
  if (most == 0) return HUGE_VALF;
  std::vector<float> best;
  for (const Frame& frame : frames) {
    best.insert(best.end(), frame.matches.best.begin(), frame.matches.best.end());
  }
  // Those above the `most`-th highest merge: it and its equals do not.
  std::nth_element(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(most - 1), best.end(),
                   std::greater<>());
  return std::max(best[most - 1], kNoMatch + 1e-6f);
}

// Merges the other tokens of a segment along their matches, from the last frame to the first.
// Returns how many merged.
size_t MergeOverTime(const FlashVidArgs& args, std::span<Frame> frames, Tracks& tracks) {
  const float above = MergeAbove(args, frames);
  size_t merged = 0;
  for (size_t i = frames.size(); i-- > 0;) {
    Frame& frame = frames[i];
    for (size_t k = 0; k < frame.others.size(); ++k) {
      const uint32_t token = frame.others[k];
      std::vector<size_t>& members = tracks.members[token];
      members.push_back(token * args.shape.width);
      if (frame.matches.best.empty() || !(frame.matches.best[k] > above)) {
        frame.left.push_back(token);
        continue;
      }
      const uint32_t parent = frames[i - 1].others[static_cast<size_t>(frame.matches.match[k])];
      std::vector<size_t>& parents = tracks.members[parent];
      parents.insert(parents.end(), members.begin(), members.end());
      members = {};
      ++tracks.children[parent];
      ++merged;
    }
  }
  return merged;
}

// Writes the sum of rows, divided, to row `to` of `out`.
template <typename T>
void WriteQuotient(const T* rows, const std::vector<size_t>& offsets, size_t divisor, size_t width,
                   Values out, size_t to) {
  const Kernels& kernels = ActiveKernels();
  constexpr size_t kColumns = 512;
  double sum[kColumns];
  for (size_t first = 0; first < width; first += kColumns) {
    const size_t columns = std::min(kColumns, width - first);
    SumRows(kernels, rows + first, offsets.data(), nullptr, offsets.size(), columns, sum);
    const double by = static_cast<double>(divisor);
    if (out.type == ElementType::kFloat32) {
      StoreMeans(kernels, sum, by, columns, out.As<float>() + to * width + first);
    } else {
      StoreMeans(kernels, sum, by, columns, out.As<uint16_t>() + to * width + first);
    }
  }
}

// The mean of a token and what merged into it over time.
void ReadTrack(const FlashVidArgs& args, const RowReader& tokens, const Tracks& tracks,
               uint32_t token, float* out) {
  const std::vector<size_t>& members = tracks.members[token];
  if (members.size() <= 1) {
    tokens.Read(token, 1, out);
    return;
  }
  const size_t divisor = args.reference_counts ? 1 + tracks.children[token] : members.size();
  Visit(args.tokens, [&](const auto* values) {
    WriteQuotient(values, members, divisor, args.shape.width, out, 0);
  });
}

// How many clusters the tokens that are left of a segment's frames become, in proportion.
void CountClusters(const FlashVidArgs& args, std::span<Frame> frames) {
  size_t left = 0;
  for (const Frame& frame : frames) left += frame.left.size();
  const size_t wanted = (args.budget - args.picked) * frames.size();
  if (left == 0) return;
  const double share = static_cast<double>(wanted) / static_cast<double>(left);
  if (args.exact_budget && share < 1 && wanted > 0) {
    const auto left_of = [&](size_t i) { return frames[i].left.size(); };
    const auto share_of = [&](size_t i) { return static_cast<double>(left_of(i)) * share; };
    const std::vector<uint32_t> shares = ShareWhole(frames.size(), wanted, share_of, left_of);
    for (size_t i = 0; i < frames.size(); ++i) frames[i].clusters = shares[i];
    return;
  }
  for (Frame& frame : frames) {
    const size_t tokens = frame.left.size();
    frame.clusters =
        share < 1 ? static_cast<size_t>(std::ceil(static_cast<double>(tokens) * share)) : tokens;
  }
}

// Notes what tokens a frame's picked tokens and clusters are made of. `order`: of each that is kept
// its token, and its number among the clusters from 1, or 0.
void SetOwners(const FlashVidArgs& args, const Tracks& tracks, const Frame& frame,
               std::span<const std::pair<uint32_t, size_t>> order,
               std::span<const uint32_t> cluster_of) {
  std::vector<int32_t> kept_of(frame.clusters);
  for (size_t i = 0; i < order.size(); ++i) {
    const auto [token, number] = order[i];
    const auto kept = static_cast<int32_t>(frame.first_out + i);
    if (number == 0) {
      args.out_owners[token] = kept;
    } else {
      kept_of[number - 1] = kept;
    }
  }
  // A picked token has no track, and stays its own where it is clustered, too.
  for (size_t i = 0; i < cluster_of.size(); ++i) {
    for (const size_t offset : tracks.members[frame.left[i]]) {
      args.out_owners[offset / args.shape.width] = kept_of[cluster_of[i]];
    }
  }
}

// Clusters lane.rows by words; false if these do not tell them apart.
bool ClusterByWords(size_t clusters, const Workers& workers, Lane& lane) {
  const Kernels& kernels = ActiveKernels();
  const size_t width = lane.rows.dims();
  const RowReader rows{lane.rows.row(0), width, kernels};
  std::vector<uint32_t> all(lane.rows.rows());
  std::iota(all.begin(), all.end(), 0u);
  lane.units.Set(rows, width, all, kernels.width_a, kernels, workers);
  if (!FindDensityPeaksByWords(lane.units, std::min(clusters, kNeighbours), kernels, workers,
                               lane.words, lane.peaks)) {
    return false;
  }
  FindCentres(lane.peaks, clusters, Rounding::kExact, lane.chosen);
  return AssignToCentresByWords(lane.units, lane.chosen, lane.words, lane.cluster_of);
}

void Cluster(size_t clusters, bool reference_counts, const Workers& workers, Lane& lane) {
  const bool clustered =
      !reference_counts && lane.TryWords(lane.rows.rows(), lane.rows.dims(),
                                         [&] { return ClusterByWords(clusters, workers, lane); });
  if (clustered) return;
  lane.rows.Multiply(workers);
  const Rounding rounding = reference_counts ? Rounding::kReference : Rounding::kExact;
  FindDensityPeaks(lane.rows, std::min(clusters, kNeighbours), rounding, workers, lane.peaks);
  FindCentres(lane.peaks, clusters, rounding, lane.chosen);
  AssignToCentres(lane.rows, lane.chosen, rounding, workers, lane.cluster_of);
}

// Writes what becomes of a frame: its picked tokens, and its clusters at their centres.
void WriteFrame(const FlashVidArgs& args, const RowReader& tokens, const Tracks& tracks,
                const Frame& frame, const ResultRows& out, const Workers& workers, Lane& lane) {
  const Kernels& kernels = ActiveKernels();
  const size_t width = args.shape.width;
  const size_t count = frame.clusters == 0 ? 0 : frame.left.size();
  lane.rows.Start(count, width, kernels);
  workers.For(count,
              [&](size_t i) { ReadTrack(args, tokens, tracks, frame.left[i], lane.rows.row(i)); });
  lane.chosen.resize(count);
  lane.cluster_of.resize(count);
  if (frame.clusters < count) {
    Cluster(frame.clusters, args.reference_counts, workers, lane);
  } else {
    std::iota(lane.chosen.begin(), lane.chosen.end(), 0u);
    std::iota(lane.cluster_of.begin(), lane.cluster_of.end(), 0u);
  }
  std::vector<std::vector<size_t>> members(frame.clusters);
  std::vector<size_t> stands_for(frame.clusters, 0);
  for (size_t i = 0; i < count; ++i) {
    const size_t cluster = lane.cluster_of[i];
    members[cluster].push_back(i * width);
    stands_for[cluster] += std::max<size_t>(tracks.members[frame.left[i]].size(), 1);
  }
  // The token at which each stands; of a picked token and a cluster at it the token is first.
  std::vector<std::pair<uint32_t, size_t>> order;
  for (const uint32_t token : frame.picked) order.emplace_back(token, 0);
  for (size_t i = 0; i < frame.clusters; ++i) order.emplace_back(frame.left[lane.chosen[i]], i + 1);
  std::ranges::sort(order);
  SetOwners(args, tracks, frame, order, lane.cluster_of);
  workers.For(order.size(), [&](size_t i) {
    const auto [token, number] = order[i];
    const size_t to = frame.first_out + i;
    args.out_indices[to] = static_cast<int32_t>(token);
    if (number == 0) {
      out.Copy(args.tokens, token, to);
      args.out_sizes[to] = 1;
    } else {
      const std::vector<size_t>& of = members[number - 1];
      WriteQuotient(lane.rows.row(0), of, of.size(), width, args.out, to);
      args.out_sizes[to] = static_cast<float>(stands_for[number - 1]);
    }
  });
}

}  // namespace

void FlashVid(const FlashVidArgs& args, const Workers& workers) {
  const Shape& shape = args.shape;
  LocateNotFinite(args.tokens, shape, FlashVidArgs::kNames, [&] {
    const RowReader tokens{args.tokens, shape.width, ActiveKernels()};
    std::vector<float> means, cosines(shape.batch - 1);
    FrameMeans(args.tokens, shape, workers, means);
    const SegmentFramesArgs segment{.features = means.data(),
                                    .frames = shape.batch,
                                    .width = shape.width,
                                    .threshold = args.segment_threshold,
                                    .segments = args.segments,
                                    .out_cosines = cosines.data(),
                                    .out_starts = args.out_starts};
    SegmentFrames(segment, workers);
    std::fill_n(args.out_owners, shape.batch * shape.rows, -1);

    std::vector<Frame> frames(shape.batch);
    PickAndMatch(args, tokens, workers, frames);
    Tracks tracks{std::vector<std::vector<size_t>>(shape.batch * shape.rows),
                  std::vector<uint32_t>(shape.batch * shape.rows, 0)};
    size_t merged = 0;
    ForSegments(args, frames, [&](std::span<Frame> own) {
      if (args.picked == args.budget) return;
      merged += MergeOverTime(args, own, tracks);
      if (own.size() == 1 && args.cluster_picked) {
        std::vector<uint32_t>& left = own.front().left;
        left.insert(left.end(), own.front().picked.begin(), own.front().picked.end());
        std::ranges::sort(left);
      }
      CountClusters(args, own);
    });
    size_t kept = 0;
    size_t clustered = 0;
    for (Frame& frame : frames) {
      frame.first_out = kept;
      kept += frame.picked.size() + frame.clusters;
      if (frame.clusters > 0) clustered += frame.left.size() - frame.clusters;
    }
    const ResultRows out{args.out, kept, shape.width, ActiveKernels()};
    args.out_counts[0] = static_cast<int32_t>(kept);
    args.out_counts[1] = static_cast<int32_t>(merged);
    args.out_counts[2] = static_cast<int32_t>(clustered);
    std::vector<Lane> lanes;
    ForItems(shape.batch, workers, lanes, [&](size_t i, Lane& lane, const Workers& own) {
      WriteFrame(args, tokens, tracks, frames[i], out, own, lane);
    });
  });
}

}  // namespace longvlm
