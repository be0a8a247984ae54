// One level's merge on the metric: the sums, sizes and rows of the remaining tokens, and the
// current position of each input token.
#include "levels.cuh"
#include "normalize_rows.cuh"
#include "sum_listed.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr uint32_t kWarps = kCombineThreads / kWarp;

struct MergeShared {
  float mean[kWarps][kCombineDims];  // where all dims fit
};

struct MergeWork {
  MetricState state;
  Level level;
  LevelSums in;
  LevelSums out;
  uint32_t merge_blocks;   // of a segment
  uint32_t assign_blocks;  // of a segment, after those
  bool identity;
};

__device__ void Assign(const MergeWork& work, size_t segment, uint32_t first) {
  const uint32_t token = first + threadIdx.x;
  if (token >= work.state.all_tokens) return;
  int32_t* const assignment = work.state.assignment + segment * work.state.all_tokens;
  const uint32_t place = work.identity ? token : static_cast<uint32_t>(assignment[token]);
  const size_t keys = segment * work.state.key_stride;
  assignment[token] =
      static_cast<int32_t>(work.level.SlotOf(place, work.in.keys + keys, work.state.ranks + keys));
}

// One warp for each slot. kSummed: not the first level.
template <bool kSummed>
__global__ void __launch_bounds__(kCombineThreads, 3) merge_level_kernel(MergeWork work) {
  LV_SHARED(MergeShared, shared);
  const uint32_t blocks = work.merge_blocks + work.assign_blocks;
  const uint32_t block = blockIdx.x % blocks;
  const size_t segment = blockIdx.x / blocks;
  if (block >= work.merge_blocks) {
    Assign(work, segment, (block - work.merge_blocks) * kCombineThreads);
    return;
  }

  const MetricState& state = work.state;
  const uint32_t warp = threadIdx.x / kWarp;
  const uint32_t lane = threadIdx.x % kWarp;
  const uint32_t first_slot = block * kWarps;
  const uint32_t slots = Smaller<uint32_t>(kWarps, work.level.kept() - first_slot);
  float* const rows = state.rows + (segment * state.all_tokens + first_slot) * state.row_stride;
  const bool shared_means = state.dims <= kCombineDims;
  if (warp < slots) {
    const uint32_t slot = first_slot + warp;
    const uint32_t* const starts = state.starts + segment * (state.all_tokens + size_t{1}) + slot;
    const size_t place = segment * work.out.stride + slot;
    for (uint32_t first_dim = 0; first_dim < state.dims; first_dim += kCombineDims) {
      const uint32_t* const listed = state.order + segment * state.all_tokens + starts[0];
      const auto [sums, size] =
          SumListed<kSummed>(state, work.in, segment, starts[1] - starts[0], first_dim,
                             [listed](uint32_t i) { return listed[i]; });
#pragma unroll
      for (uint32_t d = 0; d < kDimsOfLane; ++d) {
        const uint32_t k = first_dim + d * kWarp + lane;
        if (k >= state.dims) break;
        work.out.sums[place * state.dims + k] = sums[d];
        const float mean = __double2float_rn(__ddiv_rn(sums[d], size));
        if (shared_means) {
          shared.mean[warp][k] = mean;
        } else {
          rows[static_cast<size_t>(warp) * state.row_stride + k] = mean;
        }
      }
      if (first_dim == 0 && lane == 0) {
        work.out.sizes[place] = size;
        if (slot % 2 == 0) work.out.keys[segment * state.key_stride + slot / 2] = 0;
      }
    }
  }
  NormalizeRows(shared_means ? &shared.mean[0][0] : rows,
                shared_means ? kCombineDims : state.row_stride, rows, state.row_stride, slots,
                state.dims);
}

}  // namespace

lv_status LaunchMergeLevel(const MetricState& state, const Level& level, const LevelSums& in,
                           const LevelSums* out, bool identity, cudaStream_t stream) {
  MergeWork work = {};
  work.state = state;
  work.level = level;
  work.in = in;
  work.identity = identity;
  if (out != nullptr) {
    work.out = *out;
    work.merge_blocks = static_cast<uint32_t>(CeilDiv(level.kept(), kWarps));
  }
  work.assign_blocks = static_cast<uint32_t>(CeilDiv(state.all_tokens, kCombineThreads));
  return Launch(in.sums != nullptr ? merge_level_kernel<true> : merge_level_kernel<false>,
                static_cast<size_t>(state.segments) * (work.merge_blocks + work.assign_blocks),
                kCombineThreads, 0, stream, work);
}

}  // namespace longvlm::cuda
