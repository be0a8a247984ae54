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

// Copies some rows.
struct GatherWork {
  const void* tokens;      // [limit, width]
  const int32_t* indices;  // [count]
  size_t count;
  size_t limit;
  size_t width;
  void* out;  // [count, width]
  lv_report* report;
};
lv_status LaunchGather(lv_type type, const GatherWork& work, cudaStream_t stream);

}  // namespace longvlm::cuda
