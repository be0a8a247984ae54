// The last levels of token merging: a segment then has few tokens, and one block runs several
// levels in one launch.
#include "levels.cuh"
#include "normalize_rows.cuh"
#include "sum_listed.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr uint32_t kWarps = kSmallThreads / kWarp;
constexpr uint32_t kRows = kSmallTokens / 2 + 1;  // of A or B at most
constexpr uint32_t kStays = 0xffff;               // no partner
static_assert(kSmallTokens < kStays && kSmallTokens < kSmallThreads);
static_assert(2 * kSmallRowsOfB * kWarp >= kSmallTokens);

struct SmallShared {
  MatchKey keys[kRows];
  uint64_t order_keys[kRows];
  uint16_t ranks[kRows];
  uint16_t partners[kRows];           // the rows of B into which those of A merge
  uint16_t slot_of[kSmallTokens];     // of the level's tokens
  uint16_t place_of[kSmallTokens];    // of the first level's tokens
  uint16_t order[kSmallTokens];       // the level's tokens by slot, ascending in each
  uint16_t starts[kSmallTokens + 1];  // where each slot's begin in `order`
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

// The memory of a level's token: the even ones come before the odd ones, so that neighbouring rows
// of A, and of B, are neighbours there.
__device__ inline uint32_t PlaceOf(uint32_t token, uint32_t tokens) {
  return (token % 2 == 0 ? 0 : (tokens + 1) / 2) + token / 2;
}

// Each warp has kSmallRowsOfA rows of A at a time, each lane some of the rows of B.
__device__ void MatchRows(const SmallWork& work, const Level& level, const float* rows,
                          SmallShared& shared) {
  const uint32_t stride = work.shared_stride;
  const uint32_t num_a = level.num_a();
  const uint32_t num_b = level.num_b();
  const uint32_t lane = threadIdx.x % kWarp;
  const float* const rows_of_a = rows + PlaceOf(level.first_a(), level.tokens) * stride;
  const float* const rows_of_b = rows + PlaceOf(level.first_b(), level.tokens) * stride;
  for (uint32_t first = threadIdx.x / kWarp * kSmallRowsOfA; first < num_a;
       first += kWarps * kSmallRowsOfA) {
    const float* a[kSmallRowsOfA];
    const float* b[kSmallRowsOfB];
    float sum[kSmallRowsOfA][kSmallRowsOfB] = {};
#pragma unroll
    for (uint32_t i = 0; i < kSmallRowsOfA; ++i) {
      a[i] = rows_of_a + Smaller(first + i, num_a - 1) * stride;
    }
#pragma unroll
    for (uint32_t j = 0; j < kSmallRowsOfB; ++j) {
      b[j] = rows_of_b + Smaller(j * kWarp + lane, num_b - 1) * stride;
    }
    for (uint32_t k = 0; k < work.state.dims; k += 4) {
      float4 of_a[kSmallRowsOfA];
#pragma unroll
      for (uint32_t i = 0; i < kSmallRowsOfA; ++i) {
        of_a[i] = *reinterpret_cast<const float4*>(a[i] + k);
      }
#pragma unroll
      for (uint32_t j = 0; j < kSmallRowsOfB; ++j) {
        if (j * kWarp >= num_b) break;
        const float4 of_b = *reinterpret_cast<const float4*>(b[j] + k);
#pragma unroll
        for (uint32_t i = 0; i < kSmallRowsOfA; ++i) {
          sum[i][j] = __fmaf_rn(of_a[i].x, of_b.x, sum[i][j]);
          sum[i][j] = __fmaf_rn(of_a[i].y, of_b.y, sum[i][j]);
          sum[i][j] = __fmaf_rn(of_a[i].z, of_b.z, sum[i][j]);
          sum[i][j] = __fmaf_rn(of_a[i].w, of_b.w, sum[i][j]);
        }
      }
    }
#pragma unroll
    for (uint32_t i = 0; i < kSmallRowsOfA; ++i) {
      MatchKey best = 0;
#pragma unroll
      for (uint32_t j = 0; j < kSmallRowsOfB; ++j) {
        const uint32_t row = j * kWarp + lane;
        if (row >= num_b) break;
        const MatchKey equal = ToMatchKey(kEqualRows, row);
        const bool same =
            sum[i][j] > work.equal_above && best < equal && EqualRows(a[i], b[j], work.state.dims);
        const MatchKey key = same ? equal : ToMatchKey(RisingKey(sum[i][j]), row);
        best = best < key ? key : best;
      }
#pragma unroll
      for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        const MatchKey other = __shfl_xor_sync(kAllLanes, best, distance);
        best = best < other ? other : best;
      }
      if (lane == 0 && first + i < num_a) shared.keys[first + i] = best;
    }
  }
  __syncthreads();
}

// The rank of each row of A, if some stay; and its partner.
__device__ void RankRows(const Level& level, SmallShared& shared) {
  const uint32_t row = threadIdx.x;
  const uint32_t num_a = level.num_a();
  if (row < num_a) shared.order_keys[row] = OrderKey(shared.keys[row], row);
  __syncthreads();
  if (row < num_a) {
    uint32_t rank = 0;
    if (level.stay() > 0) {
      for (uint32_t i = 0; i < num_a; ++i) {
        rank += shared.order_keys[i] < shared.order_keys[row] ? 1 : 0;
      }
    }
    shared.ranks[row] = static_cast<uint16_t>(rank);
    const bool stays = level.stay() > 0 && rank >= level.r;
    shared.partners[row] = static_cast<uint16_t>(stays ? kStays : PartnerOf(shared.keys[row]));
  }
  __syncthreads();
}

// A thread for each token: its slot, and its place in the order, as in link_level.cu.
__device__ void LinkTokens(const Level& level, SmallShared& shared) {
  const uint32_t token = threadIdx.x;
  if (token == level.tokens) shared.starts[level.kept()] = static_cast<uint16_t>(level.tokens);
  if (token >= level.tokens) return;
  uint32_t slot = token;
  uint32_t start = token;
  uint32_t same = 0;
  bool sets_start = true;
  if (token >= level.protect) {
    const bool in_b = token % 2 != 0;
    const uint32_t row = (token - (in_b ? level.first_b() : level.first_a())) / 2;
    const uint32_t partner = in_b ? row : shared.partners[row];
    if (partner == kStays) {
      slot = start = level.protect + shared.ranks[row] - level.r;
    } else {
      uint32_t lower = 0;
      same = in_b || level.first_b() + 2 * partner >= token ? 0 : 1;
      for (uint32_t i = 0; i < level.num_a(); ++i) {
        const uint32_t other = shared.partners[i];
        lower += other < partner ? 1 : 0;
        same += other == partner && level.first_a() + 2 * i < token ? 1 : 0;
      }
      slot = level.protect + level.stay() + partner;
      start = slot + lower;
      sets_start = in_b;
    }
  }
  if (sets_start) shared.starts[slot] = static_cast<uint16_t>(start);
  shared.slot_of[token] = static_cast<uint16_t>(slot);
  shared.order[start + same] = static_cast<uint16_t>(token);
}

// One warp for each slot. The means overwrite the level's rows.
template <bool kSummed>
__device__ void MergeRows(const SmallWork& work, const Level& level, const LevelSums& in,
                          const LevelSums& out, size_t segment, float* rows,
                          const SmallShared& shared) {
  const MetricState& state = work.state;
  const uint32_t lane = threadIdx.x % kWarp;
  for (uint32_t slot = threadIdx.x / kWarp; slot < level.kept(); slot += kWarps) {
    const size_t place = segment * out.stride + slot;
    const uint32_t start = shared.starts[slot];
    const uint32_t count = shared.starts[slot + 1] - start;
    float* const row = rows + PlaceOf(slot, level.kept()) * work.shared_stride;
    for (uint32_t first_dim = 0; first_dim < state.dims; first_dim += kCombineDims) {
      const auto [sums, size] = SumListed<kSummed>(
          state, in, segment, count, first_dim,
          [&](uint32_t i) { return static_cast<uint32_t>(shared.order[start + i]); });
#pragma unroll
      for (uint32_t d = 0; d < kDimsOfLane; ++d) {
        const uint32_t k = first_dim + d * kWarp + lane;
        if (k >= state.dims) break;
        out.sums[place * state.dims + k] = sums[d];
        row[k] = __double2float_rn(__ddiv_rn(sums[d], size));
      }
      if (first_dim == 0 && lane == 0) out.sizes[place] = size;
    }
  }
}

// Copies rows of 4 floats at a time, so many loads before the first store.
template <typename From, typename To>
__device__ inline void CopyRows(uint32_t count, const From& from, const To& to) {
  for (uint32_t first = threadIdx.x; first < count; first += kSmallLoads * kSmallThreads) {
    float4 value[kSmallLoads];
#pragma unroll
    for (uint32_t i = 0; i < kSmallLoads; ++i) {
      if (first + i * kSmallThreads < count) value[i] = *from(first + i * kSmallThreads);
    }
#pragma unroll
    for (uint32_t i = 0; i < kSmallLoads; ++i) {
      if (first + i * kSmallThreads < count) *to(first + i * kSmallThreads) = value[i];
    }
  }
}

__global__ void __launch_bounds__(kSmallThreads) merge_small_levels_kernel(SmallWork work) {
  LV_SHARED(SmallShared, shared);
  LV_DYNAMIC_SHARED(dynamic);
  float* const rows = reinterpret_cast<float*>(dynamic);
  const MetricState& state = work.state;
  const size_t segment = blockIdx.x;
  const uint32_t first_tokens = work.levels.level[0].tokens;
  float4* const all_rows =
      reinterpret_cast<float4*>(state.rows + segment * state.all_tokens * state.row_stride);
  const uint32_t quads = state.row_stride / 4;
  const auto in_memory = [&](uint32_t i) { return all_rows + i; };
  const auto in_shared = [&](uint32_t tokens) {
    return [=](uint32_t i) {
      const uint32_t place = PlaceOf(i / quads, tokens);
      return reinterpret_cast<float4*>(rows + place * work.shared_stride + i % quads * 4);
    };
  };
  CopyRows(first_tokens * quads, in_memory, in_shared(first_tokens));
  for (uint32_t i = threadIdx.x; i < first_tokens; i += kSmallThreads) {
    shared.place_of[i] = static_cast<uint16_t>(i);
  }
  __syncthreads();

  LevelSums in = work.in;
  for (int i = 0; i < work.levels.count; ++i) {
    const Level level = work.levels.level[i];
    MatchRows(work, level, rows, shared);
    RankRows(level, shared);
    LinkTokens(level, shared);
    __syncthreads();
    if (threadIdx.x < first_tokens) {
      shared.place_of[threadIdx.x] = shared.slot_of[shared.place_of[threadIdx.x]];
    }
    if (i + 1 < work.levels.count || work.more) {
      const LevelSums out = work.out[i % 2];
      if (in.sums == nullptr) {
        MergeRows<false>(work, level, in, out, segment, rows, shared);
      } else {
        MergeRows<true>(work, level, in, out, segment, rows, shared);
      }
      NormalizeRows(rows, work.shared_stride, rows, work.shared_stride, level.kept(), state.dims);
      in = out;
    }
    __syncthreads();
  }

  int32_t* const assignment = state.assignment + segment * state.all_tokens;
  for (uint32_t first = threadIdx.x; first < state.all_tokens;
       first += kSmallLoads * kSmallThreads) {
    uint32_t place[kSmallLoads] = {};
#pragma unroll
    for (uint32_t i = 0; i < kSmallLoads; ++i) {
      const uint32_t token = first + i * kSmallThreads;
      if (token >= state.all_tokens) break;
      place[i] = work.identity ? token : static_cast<uint32_t>(assignment[token]);
    }
#pragma unroll
    for (uint32_t i = 0; i < kSmallLoads; ++i) {
      const uint32_t token = first + i * kSmallThreads;
      if (token >= state.all_tokens) break;
      assignment[token] = shared.place_of[place[i]];
    }
  }
  if (!work.more) return;
  const uint32_t kept = work.levels.level[work.levels.count - 1].kept();
  CopyRows(kept * quads, in_shared(kept), in_memory);
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
