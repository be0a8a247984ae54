// One level of token merging: which tokens are merged, their new positions, and the arguments of
// the kernels.
#pragma once

#include "common.cuh"
#include "tuning.h"

namespace longvlm::cuda {

// The tokens at even positions are A, those at odd positions B, both from `protect` on.
struct Level {
  uint32_t tokens;
  uint32_t protect;
  uint32_t r;

  __host__ __device__ uint32_t num_a() const { return (tokens - protect + 1 - protect % 2) / 2; }
  __host__ __device__ uint32_t num_b() const { return (tokens - protect + protect % 2) / 2; }
  __host__ __device__ uint32_t first_a() const { return protect + protect % 2; }
  __host__ __device__ uint32_t first_b() const { return protect + 1 - protect % 2; }
  __host__ __device__ uint32_t max_r() const { return (tokens - protect) / 2; }
  __host__ __device__ uint32_t stay() const { return num_a() - r; }
  __host__ __device__ uint32_t kept() const { return tokens - r; }

  // The position of a token after the level. `keys` and `ranks` are those of the rows of A; ranks
  // are not read if all of A is merged.
  __device__ uint32_t SlotOf(uint32_t token, const MatchKey* keys, const uint32_t* ranks) const {
    if (token < protect || r == 0) return token;
    if (token % 2 != 0) return protect + stay() + (token - first_b()) / 2;
    const uint32_t row = (token - first_a()) / 2;
    if (stay() > 0) {
      const uint32_t rank = ranks[row];
      if (rank >= r) return protect + rank - r;
    }
    return protect + stay() + PartnerOf(keys[row]);
  }
};

// The metric of all segments while it is merged.
struct MetricState {
  uint32_t segments;
  uint32_t all_tokens;  // of a segment's input
  uint32_t dims;
  uint32_t row_stride;    // of `rows`: dims, rounded up to 4
  uint32_t key_stride;    // of `keys` and `ranks`
  const float* metric;    // [segments, all_tokens, dims]
  const float* in_sizes;  // [segments, all_tokens]; null for 1
  float* rows;            // [segments, all_tokens, row_stride]: the level's tokens, of length 1
  uint32_t* ranks;        // [segments, key_stride]
  uint32_t* order;        // [segments, all_tokens]: a level's tokens by slot, ascending in each
  uint32_t* starts;       // [segments, all_tokens + 1]: where each slot's begin in `order`
  uint32_t* lists;        // [segments, all_tokens]: for what a block cannot have in shared memory
  int32_t* assignment;    // [segments, all_tokens]
};

// Sums and keys of the tokens of one level.
struct LevelSums {
  double* sums;     // [segments, stride, dims], metric times size; null at the first level,
  double* sizes;    // [segments, stride]        where they are the metric and the input's sizes
  uint32_t stride;  // the same at all levels, so that segments may be at different ones
  MatchKey* keys;   // [segments, key_stride]
};

// Size and sums of one token of a level.
__device__ inline double SizeAt(const MetricState& state, const LevelSums& in, size_t segment,
                                uint32_t token) {
  if (in.sums != nullptr) return in.sizes[segment * in.stride + token];
  return state.in_sizes == nullptr
             ? 1.0
             : static_cast<double>(state.in_sizes[segment * state.all_tokens + token]);
}
__device__ inline double SumAt(const MetricState& state, const LevelSums& in, size_t segment,
                               uint32_t token, uint32_t k) {
  if (in.sums != nullptr) return in.sums[(segment * in.stride + token) * state.dims + k];
  const size_t row = segment * state.all_tokens + token;
  const double value = static_cast<double>(state.metric[row * state.dims + k]);
  // Exact: the product of two float32.
  return state.in_sizes == nullptr ? value
                                   : __dmul_rn(value, static_cast<double>(state.in_sizes[row]));
}

// Two rows can be equal only if their chain of multiply-adds is above this bound, because rounding
// lowers 1 by no more. The bound is not below 0, so that a zero row, whose chains are 0, is never
// equal to another.
inline float EqualAbove(uint32_t dims) {
  const float bound = 1.0f - 0x1p-22f * (static_cast<float>(dims) + 4.0f);
  return bound > 0 ? bound : 0.0f;
}

__device__ inline bool EqualRows(const float* a, const float* b, uint32_t dims) {
  for (uint32_t k = 0; k < dims; ++k) {
    if (a[k] != b[k]) return false;
  }
  return true;
}

// token_metric.cu. Tokens [count, channels] to metric [count, dims]; with `rows` not null also the
// rows of length 1, and the keys of the first level are cleared: key i / 2 for each even token i of
// a segment.
struct TokenMetricWork {
  const void* tokens;
  size_t count;
  uint32_t heads;
  uint32_t dims;
  float* metric;  // null when only rows are wanted
  float* rows;
  uint32_t row_stride;
  uint32_t tokens_per_segment;
  uint32_t key_stride;
  MatchKey* keys;
  lv_report* report;
};
lv_status LaunchTokenMetric(lv_type type, const TokenMetricWork& work, cudaStream_t stream);

// match_tokens.cu. The keys of the rows of A, from rows; then their ranks in the order.
lv_status LaunchMatch(const MetricState& state, const Level& level, MatchKey* keys,
                      int32_t multiprocessors, cudaStream_t stream);
lv_status LaunchRank(const MetricState& state, const Level& level, const MatchKey* keys,
                     cudaStream_t stream);

// link_level.cu. The state's order and starts, from the keys and ranks of the rows of A.
lv_status LaunchLink(const MetricState& state, const Level& level, const MatchKey* keys,
                     cudaStream_t stream);

// merge_level.cu. The next level's sums, sizes, rows and cleared keys; `identity` if no level has
// written to the assignment yet. With a null `out`, only the assignment; else the level must be
// linked.
lv_status LaunchMergeLevel(const MetricState& state, const Level& level, const LevelSums& in,
                           const LevelSums* out, bool identity, cudaStream_t stream);

// merge_small_levels.cu. Several levels in one launch. `other` is memory for the level after the
// next; `in` is overwritten, except at the first level. Rows are read from `state`.
struct SmallLevels {
  Level level[kSmallLevels];
  int count;
};
// Whether a level is small enough.
bool IsSmallLevel(const Level& level, uint32_t dims);
lv_status LaunchSmallLevels(const MetricState& state, const SmallLevels& levels,
                            const LevelSums& in, const LevelSums& first_out,
                            const LevelSums& second_out, bool identity, bool more,
                            cudaStream_t stream);

// merge_by_assignment.cu.
struct MeanScratch {
  uint32_t* first;   // [batch, slots + 1], into `order`
  uint32_t* order;   // [batch, rows], by slot, ascending in each
  double* totals;    // [batch, slots], sums of weights
  double* partials;  // [batch, windows, 2, width]
};
struct MeanWork {
  const void* rows;
  const int32_t* assignment;
  const float* weights;
  size_t batch;
  uint32_t num_rows;
  size_t width;
  uint32_t slots;
  bool divide;
  bool check;  // reports what is not finite, and bad assignments
  void* out;
  float* out_weights;
  lv_report* report;
};
// The sizes of a merge by assignment, and of spreading it.
lv_status CheckAssignment(lv_type type, uint64_t batch, uint64_t rows, uint64_t width,
                          uint64_t slots);
MeanScratch TakeMeanScratch(Arena& arena, const MeanWork& work);
// The rows of each slot, to `first`, `order` and `totals`.
lv_status LaunchListRows(const MeanWork& work, const MeanScratch& scratch, cudaStream_t stream);
lv_status LaunchMeans(lv_type type, const MeanWork& work, const MeanScratch& scratch,
                      cudaStream_t stream);

}  // namespace longvlm::cuda
