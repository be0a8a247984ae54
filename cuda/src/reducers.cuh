// What the reducers of a video's tokens share: steps that several of them take, as launches.
#pragma once

#include "common.cuh"
#include "longvlm_cuda_reducers.h"

namespace longvlm::cuda {

inline constexpr uint64_t kMaxIndex = 0x7fffffff;

// The number of float32 values from row to row of rows that ProductTile reads: whole float4s.
inline size_t RowStride(size_t width) { return CeilDiv(width, 4) * 4; }

// Checks [frames, patches, channels] or [batch, tokens, channels]: all at least 1, positions in 31
// bits.
lv_status CheckTokens(uint64_t frames, uint64_t patches, uint64_t channels);

lv_status Multiprocessors(int32_t device, int32_t* count);

// Rows as float32, scaled to length 1 or as they are.
struct UnitRowsWork {
  const void* tokens;     // [limit, width]
  const int32_t* picked;  // [count], rows; null for the first `count`
  size_t count;
  size_t limit;
  size_t width;
  bool scaled;
  float* rows;  // [count, RowStride(width)], zeros beyond the width
  lv_report* report;
  size_t first_value = 0;  // the number of the first value of `tokens`, for the report
  // [width], ascending: rows of these channels only, which are not checked. Null for all.
  const int32_t* channels = nullptr;
  size_t all_channels = 0;
};
lv_status LaunchUnitRows(lv_type type, const UnitRowsWork& work, cudaStream_t stream);

// For each row of A the row of B with the highest product, of equal ones the first; `jobs` times, A
// and B each a number of rows further on.
struct BestMatchWork {
  const float* a;
  const float* b;
  size_t a_step;
  size_t b_step;
  uint32_t num_a;
  uint32_t num_b;
  size_t jobs;
  uint32_t row_stride;
  MatchKey* keys;  // [jobs, num_a], scratch memory
  float* best;     // [jobs, num_a]
  int32_t* match;  // [jobs, num_a]
};
lv_status LaunchBestMatch(const BestMatchWork& work, int32_t multiprocessors, cudaStream_t stream);

// The cosine of each token with that of the same place in the frame before, or 1 - cosine.
struct SamePlaceWork {
  const void* tokens;
  size_t patches;
  size_t width;
  size_t pairs;  // (frames - 1) * patches
  bool change;   // 1 - cosine
  float* out;    // [pairs]
  lv_report* report;
};
lv_status LaunchSamePlace(lv_type type, const SamePlaceWork& work, cudaStream_t stream);

// The mean token of each frame, in float32.
struct FrameMeansWork {
  const void* tokens;
  size_t frames;
  size_t patches;
  size_t width;
  float* out;  // [frames, width]
  lv_report* report;
};
lv_status LaunchFrameMeans(lv_type type, const FrameMeansWork& work, cudaStream_t stream);

// Where neighbouring frames are unlike.
struct SegmentWork {
  const float* features;  // [frames, width]
  uint32_t frames, width;
  float threshold;
  uint32_t segments;    // at least so many, as far as there are frames
  bool checks;          // reports features that are not finite
  float* falling;       // [frames], scratch memory: negative cosines
  float* out_cosines;   // [frames - 1], or null
  int32_t* out_starts;  // [frames]
  uint32_t* lengths;  // [frames], of the segment that begins with a frame, or 0; null if not wanted
  lv_report* report;
};
lv_status LaunchSegments(const SegmentWork& work, cudaStream_t stream);

// The highest scores of each frame, positions among all scores, ascending.
struct SelectWork {
  const float* scores;  // [frames, patches]
  size_t frames;
  size_t patches;
  const int32_t* budgets;  // [frames]; null for `budget`
  int32_t budget;
  size_t total;         // room in `out`
  int32_t first_index;  // is added to the positions
  int32_t* out;
  bool checks;  // reports scores that are not finite
  lv_report* report;
};
lv_status LaunchSelect(const SelectWork& work, cudaStream_t stream);

// What lv_select_diverse does with checked arguments, and the workspace that it needs.
size_t DiverseBytes(const lv_select_diverse_args& args);
lv_status LaunchDiverse(const lv_select_diverse_args& args, void* workspace, cudaStream_t stream);

// The density peaks of entries of rows whose products are there, each of a number of its own.
struct PeaksWork {
  uint32_t stride;          // rows from entry to entry, and products from row to row
  const uint32_t* rows_of;  // [entries], rows of each, at most `stride`; null for `stride`
  const uint32_t*
      clusters_of;      // [entries], clusters of each, at most its rows; null for `clusters`
  uint32_t width;       // of the rows
  uint32_t neighbours;  // of each at most its rows, and where clusters differ at most these
  uint32_t clusters;
  size_t entries;
  float* distances;  // [entries, stride, stride], at first the products
  float* squares;    // [entries, stride], scratch memory, as the next two
  float* farthest;   // [entries, stride]
  float* scores;     // [entries, stride]
  float* densities;  // [entries, stride]
  float* peaks;      // [entries, stride], distances to the nearest denser row
  int32_t* centres;  // [entries, centre_stride]
  uint32_t centre_stride;
  int32_t* in_clusters;  // [entries, stride]
};
lv_status LaunchPeaks(const PeaksWork& work, cudaStream_t stream);

// Copies some rows.
struct GatherWork {
  const void* tokens;      // [limit, width]
  const int32_t* indices;  // [count]
  size_t count;
  size_t limit;
  size_t width;
  void* out;  // [count, width]
  lv_report* report;
  const int32_t* fewer = nullptr;  // [1], on the device: copy only so many
};
lv_status LaunchGather(lv_type type, const GatherWork& work, cudaStream_t stream);

}  // namespace longvlm::cuda
