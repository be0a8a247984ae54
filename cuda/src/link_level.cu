// The tokens of a level in the order of the slots into which they merge: in a slot, as they follow
// in the segment.
#include "block_sums.cuh"
#include "levels.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr uint32_t kWarps = kLinkThreads / kWarp;
static_assert(kWarps == kWarp);
constexpr uint32_t kStays = 0xffffffffu;

struct LinkShared {
  uint32_t sums[kWarps];
};

struct LinkWork {
  MetricState state;
  Level level;
  const MatchKey* keys;
  bool in_shared;  // whether the lists fit
};

// What one block needs for a segment.
struct Lists {
  uint32_t* ends;  // [num_b]: at first how many rows of A merge into each row of B, ...
  uint32_t* rows;  // [num_a]: those rows by partner, in any order
};

// The row of B into which a row of A merges, or kStays.
__device__ inline uint32_t PartnerOrStays(const Level& level, const MatchKey* keys,
                                          const uint32_t* ranks, uint32_t row) {
  return level.stay() > 0 && ranks[row] >= level.r ? kStays : PartnerOf(keys[row]);
}

// Replaces each value by the sum of those before it.
__device__ void SumBefore(uint32_t* values, uint32_t count, LinkShared& shared) {
  const uint32_t lane = threadIdx.x % kWarp;
  const uint32_t warp = threadIdx.x / kWarp;
  uint32_t before = 0;  // of the blocks of values before
  for (uint32_t first = 0; first < count; first += kLinkThreads) {
    const uint32_t i = first + threadIdx.x;
    const uint32_t value = i < count ? values[i] : 0;
    uint32_t of_warp = 0;
    const uint32_t of_lanes = WarpSumBefore(value, &of_warp);
    if (lane == 0) shared.sums[warp] = of_warp;
    __syncthreads();
    uint32_t of_block = 0;
    const uint32_t of_warps = WarpSumBefore(shared.sums[lane], &of_block);
    const uint32_t before_warp = __shfl_sync(kAllLanes, of_warps, static_cast<int>(warp));
    if (i < count) values[i] = before + before_warp + of_lanes;
    before += of_block;
    __syncthreads();
  }
}

// One block for each segment: counts the rows of A of each partner, lists them, and finds each
// row's place among those of its partner, which are few unless all are alike.
__global__ void __launch_bounds__(kLinkThreads) link_level_kernel(LinkWork work) {
  LV_SHARED(LinkShared, shared);
  LV_DYNAMIC_SHARED(dynamic);
  const Level& level = work.level;
  const size_t segment = blockIdx.x;
  const MatchKey* const keys = work.keys + segment * work.state.key_stride;
  const uint32_t* const ranks = work.state.ranks + segment * work.state.key_stride;
  uint32_t* const order = work.state.order + segment * work.state.all_tokens;
  uint32_t* const starts = work.state.starts + segment * (work.state.all_tokens + size_t{1});
  const uint32_t num_a = level.num_a();
  const uint32_t num_b = level.num_b();
  uint32_t* const memory = work.in_shared ? reinterpret_cast<uint32_t*>(dynamic)
                                          : work.state.lists + segment * work.state.all_tokens;
  const Lists lists = {memory, memory + num_b};

  for (uint32_t i = threadIdx.x; i < num_b; i += kLinkThreads) lists.ends[i] = 0;
  __syncthreads();
#pragma unroll 4
  for (uint32_t row = threadIdx.x; row < num_a; row += kLinkThreads) {
    const uint32_t partner = PartnerOrStays(level, keys, ranks, row);
    if (partner != kStays) atomicAdd(&lists.ends[partner], 1u);
  }
  __syncthreads();
  SumBefore(lists.ends, num_b, shared);
  // Each becomes the end of its rows, which is where those of the next begin.
  for (uint32_t row = threadIdx.x; row < num_a; row += kLinkThreads) {
    const uint32_t partner = PartnerOrStays(level, keys, ranks, row);
    if (partner != kStays) lists.rows[atomicAdd(&lists.ends[partner], 1u)] = row;
  }
  __syncthreads();

  const uint32_t staying = level.protect + level.stay();
  for (uint32_t token = threadIdx.x; token < level.tokens; token += kLinkThreads) {
    if (token < level.protect) {
      starts[token] = token;
      order[token] = token;
      continue;
    }
    const bool in_b = token % 2 != 0;
    const uint32_t row = (token - (in_b ? level.first_b() : level.first_a())) / 2;
    const uint32_t partner = in_b ? row : PartnerOrStays(level, keys, ranks, row);
    if (partner == kStays) {
      const uint32_t slot = level.protect + ranks[row] - level.r;
      starts[slot] = slot;
      order[slot] = token;
      continue;
    }
    const uint32_t begin = partner == 0 ? 0 : lists.ends[partner - 1];
    const uint32_t end = lists.ends[partner];
    uint32_t before = !in_b && level.first_b() + 2 * partner < token ? 1 : 0;
    for (uint32_t i = begin; i < end; ++i) {
      before += level.first_a() + 2 * lists.rows[i] < token ? 1 : 0;
    }
    const uint32_t start = staying + partner + begin;
    if (in_b) starts[staying + partner] = start;
    order[start + before] = token;
  }
  if (threadIdx.x == 0) starts[level.kept()] = level.tokens;
}

}  // namespace

lv_status LaunchLink(const MetricState& state, const Level& level, const MatchKey* keys,
                     cudaStream_t stream) {
  const size_t bytes = (level.num_a() + size_t{level.num_b()}) * sizeof(uint32_t);
  const LinkWork work = {state, level, keys, bytes <= kLinkSharedBytes};
  return Launch(link_level_kernel, state.segments, kLinkThreads, work.in_shared ? bytes : 0, stream,
                work);
}

}  // namespace longvlm::cuda
