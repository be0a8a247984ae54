// The last levels of token merging: a segment then has few tokens, and one block runs several
// levels in one launch.
#include "levels.cuh"
#include "normalize_rows.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr uint32_t kWarps = kSmallThreads / kWarp;

struct SmallShared {
  MatchKey keys[kSmallTokens / 2 + 1];
  uint64_t order_keys[kSmallTokens / 2 + 1];
  uint32_t ranks[kSmallTokens / 2 + 1];
  uint32_t slot_of[kSmallTokens];   // of the level's tokens
  uint32_t place_of[kSmallTokens];  // of the first level's tokens
  NormalizeScratch normalize;
};

struct SmallWork {
  MetricState state;
  SmallLevels levels;
  LevelSums in;
  LevelSums out[2];
  float equal_above;
  uint32_t shared_stride;
  bool identity;
  bool more;
};

// 4 values of padding per row: 8 threads that load 16 bytes of neighbouring rows then have no bank
// conflicts.
uint32_t SharedStride(uint32_t dims) { return static_cast<uint32_t>(CeilDiv(dims, 4)) * 4 + 4; }

__device__ bool EqualRows(const float* a, const float* b, uint32_t dims) {
  for (uint32_t k = 0; k < dims; ++k) {
    if (a[k] != b[k]) return false;
  }
  return true;
}

// Each warp has kSmallRowsOfA rows of A; each lane has every 32nd row of B.
__device__ void MatchRows(const SmallWork& work, const Level& level, const float* rows,
                          SmallShared& shared) {
  const uint32_t stride = work.shared_stride;
  const uint32_t num_a = level.num_a();
  const uint32_t lane = threadIdx.x % kWarp;
  for (uint32_t first = threadIdx.x / kWarp * kSmallRowsOfA; first < num_a;
       first += kWarps * kSmallRowsOfA) {
    const float* a[kSmallRowsOfA];
    MatchKey best[kSmallRowsOfA] = {};
#pragma unroll
    for (uint32_t i = 0; i < kSmallRowsOfA; ++i) {
      a[i] = rows + (level.first_a() + 2 * Smaller(first + i, num_a - 1)) * stride;
    }
    for (uint32_t row = lane; row < level.num_b(); row += kWarp) {
      const float* const b = rows + (level.first_b() + 2 * row) * stride;
      float sum[kSmallRowsOfA] = {};
      for (uint32_t k = 0; k < work.state.dims; k += 4) {
        const float4 of_b = *reinterpret_cast<const float4*>(b + k);
#pragma unroll
        for (int i = 0; i < kSmallRowsOfA; ++i) {
          const float4 of_a = *reinterpret_cast<const float4*>(a[i] + k);
          sum[i] = __fmaf_rn(of_a.x, of_b.x, sum[i]);
          sum[i] = __fmaf_rn(of_a.y, of_b.y, sum[i]);
          sum[i] = __fmaf_rn(of_a.z, of_b.z, sum[i]);
          sum[i] = __fmaf_rn(of_a.w, of_b.w, sum[i]);
        }
      }
#pragma unroll
      for (int i = 0; i < kSmallRowsOfA; ++i) {
        const MatchKey equal = ToMatchKey(kEqualRows, row);
        const bool same =
            sum[i] > work.equal_above && best[i] < equal && EqualRows(a[i], b, work.state.dims);
        const MatchKey key = same ? equal : ToMatchKey(RisingKey(sum[i]), row);
        best[i] = best[i] < key ? key : best[i];
      }
    }
#pragma unroll
    for (uint32_t i = 0; i < kSmallRowsOfA; ++i) {
#pragma unroll
      for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        const MatchKey other = __shfl_xor_sync(kAllLanes, best[i], distance);
        best[i] = best[i] < other ? other : best[i];
      }
      if (lane == 0 && first + i < num_a) shared.keys[first + i] = best[i];
    }
  }
}

__device__ void RankRows(uint32_t num_a, SmallShared& shared) {
  if (threadIdx.x < num_a) {
    shared.order_keys[threadIdx.x] = OrderKey(shared.keys[threadIdx.x], threadIdx.x);
  }
  __syncthreads();
  if (threadIdx.x < num_a) {
    uint32_t rank = 0;
    for (uint32_t i = 0; i < num_a; ++i) {
      rank += shared.order_keys[i] < shared.order_keys[threadIdx.x] ? 1 : 0;
    }
    shared.ranks[threadIdx.x] = rank;
  }
  __syncthreads();
}

// One warp for each slot. The means overwrite the level's rows.
__device__ void MergeRows(const SmallWork& work, const Level& level, const LevelSums& in,
                          const LevelSums& out, size_t segment, float* rows,
                          const SmallShared& shared) {
  const MetricState& state = work.state;
  const uint32_t lane = threadIdx.x % kWarp;
  for (uint32_t slot = threadIdx.x / kWarp; slot < level.kept(); slot += kWarps) {
    const size_t place = segment * out.stride + slot;
    for (uint32_t first_dim = 0; first_dim < state.dims; first_dim += kWarp) {
      const uint32_t k = first_dim + lane;
      double sum = 0;
      double size = 0;
      for (uint32_t first = 0; first < level.tokens; first += kWarp) {
        const uint32_t token = first + lane;
        unsigned left =
            __ballot_sync(kAllLanes, token < level.tokens && shared.slot_of[token] == slot);
        for (; left != 0; left &= left - 1) {
          const uint32_t member = first + static_cast<uint32_t>(__ffs(static_cast<int>(left))) - 1;
          size = __dadd_rn(size, SizeAt(state, in, segment, member));
          if (k < state.dims) {
            sum = __dadd_rn(sum, SumAt(state, in, segment, member, k));
          }
        }
      }
      if (k < state.dims) {
        out.sums[place * state.dims + k] = sum;
        rows[slot * work.shared_stride + k] = __double2float_rn(__ddiv_rn(sum, size));
      }
      if (first_dim == 0 && lane == 0) out.sizes[place] = size;
    }
  }
}

__device__ void NormalizeAll(const SmallWork& work, uint32_t count, float* rows,
                             SmallShared& shared) {
  for (uint32_t first = 0; first < count; first += kNormalizeRows) {
    float* const some = rows + first * work.shared_stride;
    NormalizeRows(some, work.shared_stride, some, work.shared_stride,
                  Smaller<uint32_t>(kNormalizeRows, count - first), work.state.dims,
                  shared.normalize);
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kSmallThreads) merge_small_levels_kernel(SmallWork work) {
  LV_SHARED(SmallShared, shared);
  LV_DYNAMIC_SHARED(dynamic);
  float* const rows = reinterpret_cast<float*>(dynamic);
  const MetricState& state = work.state;
  const size_t segment = blockIdx.x;
  const uint32_t first_tokens = work.levels.level[0].tokens;
  const float* const all_rows = state.rows + segment * state.all_tokens * state.row_stride;
  for (uint32_t i = threadIdx.x; i < first_tokens * state.row_stride; i += kSmallThreads) {
    rows[i / state.row_stride * work.shared_stride + i % state.row_stride] = all_rows[i];
  }
  for (uint32_t i = threadIdx.x; i < first_tokens; i += kSmallThreads) shared.place_of[i] = i;
  __syncthreads();

  LevelSums in = work.in;
  for (int i = 0; i < work.levels.count; ++i) {
    const Level level = work.levels.level[i];
    MatchRows(work, level, rows, shared);
    __syncthreads();
    if (level.stay() > 0) RankRows(level.num_a(), shared);
    for (uint32_t token = threadIdx.x; token < level.tokens; token += kSmallThreads) {
      shared.slot_of[token] = level.SlotOf(token, shared.keys, shared.ranks);
    }
    __syncthreads();
    for (uint32_t token = threadIdx.x; token < first_tokens; token += kSmallThreads) {
      shared.place_of[token] = shared.slot_of[shared.place_of[token]];
    }
    if (i + 1 < work.levels.count || work.more) {
      const LevelSums out = work.out[i % 2];
      MergeRows(work, level, in, out, segment, rows, shared);
      __syncthreads();
      NormalizeAll(work, level.kept(), rows, shared);
      in = out;
    }
    __syncthreads();
  }

  int32_t* const assignment = state.assignment + segment * state.all_tokens;
  for (uint32_t token = threadIdx.x; token < state.all_tokens; token += kSmallThreads) {
    const uint32_t place = work.identity ? token : static_cast<uint32_t>(assignment[token]);
    assignment[token] = static_cast<int32_t>(shared.place_of[place]);
  }
  if (!work.more) return;
  const uint32_t kept = work.levels.level[work.levels.count - 1].kept();
  float* const next = state.rows + segment * state.all_tokens * state.row_stride;
  for (uint32_t i = threadIdx.x; i < kept * state.row_stride; i += kSmallThreads) {
    next[i] = rows[i / state.row_stride * work.shared_stride + i % state.row_stride];
  }
}

}  // namespace

bool IsSmallLevel(const Level& level, uint32_t dims) {
  return level.tokens <= kSmallTokens &&
         static_cast<size_t>(level.tokens) * SharedStride(dims) * sizeof(float) <= kSmallRowBytes;
}

lv_status LaunchSmallLevels(const MetricState& state, const SmallLevels& levels,
                            const LevelSums& in, const LevelSums& first_out,
                            const LevelSums& second_out, bool identity, bool more,
                            cudaStream_t stream) {
  SmallWork work = {};
  work.state = state;
  work.levels = levels;
  work.in = in;
  work.out[0] = first_out;
  work.out[1] = second_out;
  work.equal_above = EqualAbove(state.dims);
  work.shared_stride = SharedStride(state.dims);
  work.identity = identity;
  work.more = more;
  return Launch(merge_small_levels_kernel, state.segments, kSmallThreads,
                static_cast<size_t>(levels.level[0].tokens) * work.shared_stride * sizeof(float),
                stream, work);
}

}  // namespace longvlm::cuda
