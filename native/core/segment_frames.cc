#include "core/segment_frames.h"

#include <algorithm>
#include <cmath>

#include "core/highest.h"
#include "kernels/dispatch.h"

namespace longvlm {

void SegmentFrames(const SegmentFramesArgs& args, const Workers& workers) {
  const Kernels& kernels = ActiveKernels();
  const size_t pairs = args.frames - 1;
  std::vector<double> lengths(args.frames);
  LocateNotFinite(args.features, {1, args.frames, args.width}, SegmentFramesArgs::kNames, [&] {
    workers.For(args.frames, [&](size_t frame) {
      const float* row = args.features + frame * args.width;
      CheckFinite(row, args.width);
      lengths[frame] = std::sqrt(kernels.dot_product(row, row, args.width));
    });
  });
  std::vector<float> falling(pairs);
  for (size_t i = 0; i < pairs; ++i) {
    const float* row = args.features + i * args.width;
    const double length = lengths[i] * lengths[i + 1];
    const double product = kernels.dot_product(row, row + args.width, args.width);
    args.out_cosines[i] = length > 0 ? static_cast<float>(product / length) : 0;
    falling[i] = -args.out_cosines[i];
  }
  const size_t below =
      static_cast<size_t>(std::count_if(args.out_cosines, args.out_cosines + pairs,
                                        [&](float cosine) { return cosine < args.threshold; }));
  // The lowest are those below the threshold, and then the lowest others.
  const size_t cuts = std::max(below, std::min(pairs, std::max<size_t>(args.segments, 1) - 1));
  std::vector<uint64_t> keys;
  std::vector<uint32_t> lowest;
  FindHighest(falling, cuts, keys, lowest);
  std::fill_n(args.out_starts, args.frames, 0);
  args.out_starts[0] = 1;
  for (const uint32_t cut : lowest) args.out_starts[cut + 1] = 1;
}

std::vector<size_t> SegmentBounds(const std::vector<int32_t>& starts) {
  std::vector<size_t> bounds;
  for (size_t frame = 0; frame < starts.size(); ++frame) {
    if (starts[frame] != 0) bounds.push_back(frame);
  }
  bounds.push_back(starts.size());
  return bounds;
}

}  // namespace longvlm
