// One level's merge on the metric: the sums, sizes and rows of the remaining tokens, and the
// current position of each input token.
#include "levels.cuh"
#include "normalize_rows.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr int kWarps = kCombineThreads / kWarp;
constexpr int kSlotsPerWarp = kCombineSlots / kWarps;
constexpr int kScanned = kCombineThreads * kCombineScan;  // tokens between two barriers
constexpr int kListed = 2 * kScanned;
static_assert(kCombineSlots <= kNormalizeRows && kCombineSlots % kWarps == 0);

struct MergeShared {
  double sum[kCombineSlots][kCombineDims];
  float mean[kCombineSlots][kCombineDims];  // where all dims fit
  double size[kCombineSlots];
  // Tokens that merge into the block's slots, ascending: token * kCombineSlots + slot.
  uint32_t list[kListed];
  uint32_t counts[kCombineScan][kWarps];
  NormalizeScratch normalize;
};
static_assert(kMaxTokens * kCombineSlots - 1 <= 0xffffffffu);

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

// Adds the listed tokens of this warp's slots, in the list's order, to the sums of dims from
// `first_dim` on. Lane l has the dims first_dim + l, + l + 32, ...
__device__ void AddListed(const MergeWork& work, size_t segment, uint32_t listed,
                          uint32_t first_dim, MergeShared& shared) {
  const uint32_t warp = threadIdx.x / kWarp;
  const uint32_t lane = threadIdx.x % kWarp;
  const uint32_t dims = Smaller<uint32_t>(kCombineDims, work.state.dims - first_dim);
  for (uint32_t first = 0; first < listed; first += kWarp) {
    const uint32_t entry = first + lane < listed ? shared.list[first + lane] : 0;
    const bool mine = first + lane < listed && entry % kCombineSlots / kSlotsPerWarp == warp;
    unsigned left = __ballot_sync(kAllLanes, mine);
    while (left != 0) {
      uint32_t token[kCombineLoads];
      uint32_t slot[kCombineLoads];
      int count = 0;
#pragma unroll
      for (int i = 0; i < kCombineLoads; ++i) {
        const int from = left == 0 ? 0 : __ffs(static_cast<int>(left)) - 1;
        const uint32_t found = __shfl_sync(kAllLanes, entry, from);
        token[i] = found / kCombineSlots;
        slot[i] = found % kCombineSlots;
        if (left != 0) ++count;
        left &= left - 1;
      }
      for (uint32_t k = lane; k < dims; k += kWarp) {
        double value[kCombineLoads];
#pragma unroll
        for (int i = 0; i < kCombineLoads; ++i) {
          value[i] = i < count ? SumAt(work.state, work.in, segment, token[i], first_dim + k) : 0;
        }
#pragma unroll
        for (int i = 0; i < kCombineLoads; ++i) {
          if (i < count) shared.sum[slot[i]][k] = __dadd_rn(shared.sum[slot[i]][k], value[i]);
        }
      }
      if (first_dim == 0 && lane == 0) {
#pragma unroll
        for (int i = 0; i < kCombineLoads; ++i) {
          if (i < count) {
            shared.size[slot[i]] =
                __dadd_rn(shared.size[slot[i]], SizeAt(work.state, work.in, segment, token[i]));
          }
        }
      }
    }
  }
}

// Appends the tokens of one scan to the list. Returns the new length.
__device__ uint32_t ListScanned(const MergeWork& work, size_t segment, uint32_t first_token,
                                uint32_t first_slot, uint32_t listed, MergeShared& shared) {
  const uint32_t warp = threadIdx.x / kWarp;
  const uint32_t lane = threadIdx.x % kWarp;
  const size_t key = segment * work.state.key_stride;
  uint32_t entry[kCombineScan];
  unsigned found[kCombineScan];
#pragma unroll
  for (uint32_t i = 0; i < kCombineScan; ++i) {
    const uint32_t token = first_token + i * kCombineThreads + threadIdx.x;
    uint32_t slot = 0xffffffffu;
    if (token < work.level.tokens) {
      slot = work.level.SlotOf(token, work.in.keys + key, work.state.ranks + key) - first_slot;
    }
    entry[i] = token * kCombineSlots + slot;
    found[i] = __ballot_sync(kAllLanes, slot < kCombineSlots);
    if (lane == 0) shared.counts[i][warp] = static_cast<uint32_t>(__popc(found[i]));
  }
  __syncthreads();
  uint32_t place = listed;
#pragma unroll
  for (uint32_t i = 0; i < kCombineScan; ++i) {
    for (uint32_t w = 0; w < kWarps; ++w) {
      if (w == warp && (found[i] >> lane & 1) != 0) {
        shared.list[place + static_cast<uint32_t>(__popc(found[i] & ((1u << lane) - 1)))] =
            entry[i];
      }
      place += shared.counts[i][w];
    }
  }
  __syncthreads();
  return place;
}

__global__ void __launch_bounds__(kCombineThreads) merge_level_kernel(MergeWork work) {
  LV_SHARED(MergeShared, shared);
  const uint32_t blocks = work.merge_blocks + work.assign_blocks;
  const uint32_t block = blockIdx.x % blocks;
  const size_t segment = blockIdx.x / blocks;
  if (block >= work.merge_blocks) {
    Assign(work, segment, (block - work.merge_blocks) * kCombineThreads);
    return;
  }

  const MetricState& state = work.state;
  const uint32_t kept = work.level.kept();
  const uint32_t first_slot = block * kCombineSlots;
  const uint32_t slots = Smaller<uint32_t>(kCombineSlots, kept - first_slot);
  float* const rows = state.rows + (segment * state.all_tokens + first_slot) * state.row_stride;
  const bool shared_means = state.dims <= kCombineDims;
  for (uint32_t i = threadIdx.x; i < slots; i += kCombineThreads) {
    shared.size[i] = 0;
    const uint32_t slot = first_slot + i;
    if (slot % 2 == 0) work.out.keys[segment * state.key_stride + slot / 2] = 0;
  }
  for (uint32_t first_dim = 0; first_dim < state.dims; first_dim += kCombineDims) {
    const uint32_t dims = Smaller<uint32_t>(kCombineDims, state.dims - first_dim);
    for (uint32_t i = threadIdx.x; i < kCombineSlots * kCombineDims; i += kCombineThreads) {
      shared.sum[i / kCombineDims][i % kCombineDims] = 0;
    }
    __syncthreads();
    uint32_t listed = 0;
    for (uint32_t token = 0; token < work.level.tokens; token += kScanned) {
      if (listed > kListed - kScanned) {
        AddListed(work, segment, listed, first_dim, shared);
        listed = 0;
        __syncthreads();
      }
      listed = ListScanned(work, segment, token, first_slot, listed, shared);
    }
    AddListed(work, segment, listed, first_dim, shared);
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < slots * dims; i += kCombineThreads) {
      const uint32_t slot = i / dims;
      const uint32_t k = i % dims;
      const double sum = shared.sum[slot][k];
      const size_t place = segment * work.out.stride + first_slot + slot;
      work.out.sums[place * state.dims + first_dim + k] = sum;
      const float mean = __double2float_rn(__ddiv_rn(sum, shared.size[slot]));
      if (shared_means) {
        shared.mean[slot][k] = mean;
      } else {
        rows[static_cast<size_t>(slot) * state.row_stride + first_dim + k] = mean;
      }
    }
    __syncthreads();
  }
  if (threadIdx.x < slots) {
    work.out.sizes[segment * work.out.stride + first_slot + threadIdx.x] = shared.size[threadIdx.x];
  }
  NormalizeRows(shared_means ? &shared.mean[0][0] : rows,
                shared_means ? kCombineDims : state.row_stride, rows, state.row_stride, slots,
                state.dims, shared.normalize);
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
    work.merge_blocks = static_cast<uint32_t>(CeilDiv(level.kept(), kCombineSlots));
  }
  work.assign_blocks = static_cast<uint32_t>(CeilDiv(state.all_tokens, kCombineThreads));
  return Launch(merge_level_kernel,
                static_cast<size_t>(state.segments) * (work.merge_blocks + work.assign_blocks),
                kCombineThreads, 0, stream, work);
}

}  // namespace longvlm::cuda
