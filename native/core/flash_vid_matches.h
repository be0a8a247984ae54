// The tokens of frames that FlashVID picks, and the matches over time of the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/flash_vid.h"
#include "core/match_over_time.h"
#include "core/read_rows.h"
#include "core/segment_frames.h"
#include "core/thread_pool.h"

namespace longvlm {

struct FlashVidFrame {
  std::vector<uint32_t> picked;   // ascending
  std::vector<uint32_t> others;   // the other tokens, ascending
  std::vector<uint32_t> numbers;  // the same within the frame
  std::vector<float> nearest;     // NearestCosines of the frame, if they are known
  TimeMatches matches;            // of each other with the others of the frame before
  std::vector<uint32_t> left;     // what is left of them after merging over time
  size_t clusters = 0;            // that these become; as many as they are if they stay as they are
  size_t first_out = 0;
};

// How many tokens of a segment may merge over time, so that its budget is left, picked ones among
// it; and whether more are above the threshold.
size_t MostMerged(const FlashVidArgs& args, std::span<const FlashVidFrame> frames);
bool MergesTooMany(const FlashVidArgs& args, std::span<const FlashVidFrame> frames);

// Calls visit(frames of a segment) for every segment.
template <typename Visit>
void ForSegments(const FlashVidArgs& args, std::vector<FlashVidFrame>& frames, Visit visit) {
  const std::vector<size_t> bounds =
      SegmentBounds({args.out_starts, args.out_starts + frames.size()});
  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    visit(std::span<FlashVidFrame>(frames.data() + bounds[i], bounds[i + 1] - bounds[i]));
  }
}

// Picks tokens of all frames, and matches the others with those of the frame before, where a
// segment does not begin. Cosines are on the right side of the threshold, and in the right order
// where MergesTooMany. out_starts of `args` must have been written.
void PickAndMatch(const FlashVidArgs& args, const RowReader& tokens, const Workers& workers,
                  std::vector<FlashVidFrame>& frames);

}  // namespace longvlm
