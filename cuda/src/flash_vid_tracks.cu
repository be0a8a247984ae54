// FlashVID's merging over time: tokens that continue one of the frame before become one, a track.
#include "block_sums.cuh"
#include "flash_vid.cuh"
#include "key_of_rank.cuh"
#include "row_chain.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
// The lowest cosine above which tokens merge.
constexpr float kLowest = -1.0f + 1e-6f;

struct JoinShared {
  RankShared rank;
  uint32_t merging;
};

// The cosine above which tokens of a segment merge with the frame before, as the CPU's MergeAbove:
// the option, or more where that would leave less than the segment's budget. Ends with a barrier.
__device__ inline float MergeAbove(const FlashVidWork& work, uint32_t first, uint32_t length,
                                   JoinShared& shared) {
  const size_t count = static_cast<size_t>(length - 1) * work.others;
  if (!work.compares || count == 0) return kInfinity;
  const float* const best = work.best + static_cast<size_t>(first) * work.others;
  if (threadIdx.x == 0) shared.merging = 0;
  __syncthreads();
  uint32_t own = 0;
  for (size_t i = threadIdx.x; i < count; i += kSelectThreads) {
    own += best[i] > work.temporal_threshold ? 1 : 0;
  }
  atomicAdd(&shared.merging, own);
  __syncthreads();
  const uint32_t merging = shared.merging;
  const uint32_t most = (work.patches - work.budget) * length;
  __syncthreads();
  if (merging <= most) return work.temporal_threshold;
  if (most == 0) return kInfinity;
  const float last = FromRisingKey(~KeyOfRank<kSelectThreads>(best, count, most, shared.rank).key);
  return last < kLowest ? kLowest : last;
}

// A block for each frame that begins a segment: the parents of the segment's slots, and how many
// tokens merge into each, from the last frame to the first.
__global__ void __launch_bounds__(kSelectThreads) join_tracks_kernel(FlashVidWork work) {
  LV_SHARED(JoinShared, shared);
  const uint32_t first = blockIdx.x;
  const uint32_t length = work.lengths[first];
  if (length == 0) return;
  const float above = MergeAbove(work, first, length, shared);
  __syncthreads();
  if (threadIdx.x == 0) shared.merging = 0;
  __syncthreads();
  const size_t first_slot = static_cast<size_t>(first) * work.others;
  const size_t slots = static_cast<size_t>(length) * work.others;
  uint32_t merging = 0;
  for (size_t i = threadIdx.x; i < slots; i += kSelectThreads) {
    uint32_t parent = kNobody;
    if (i >= work.others && above < kInfinity) {
      const size_t pair = first_slot + i - work.others;
      if (work.best[pair] > above) {
        const uint32_t match = Smaller(static_cast<uint32_t>(work.match[pair]), work.others - 1);
        parent = static_cast<uint32_t>(pair / work.others * work.others) + match;
        ++merging;
      }
    }
    work.parent[first_slot + i] = parent;
    work.size[first_slot + i] = 1;
  }
  atomicAdd(&shared.merging, merging);
  __syncthreads();
  if (threadIdx.x == 0) work.merged_of[first] = shared.merging;
  for (uint32_t frame = length - 1; frame > 0; --frame) {
    const size_t begin = first_slot + static_cast<size_t>(frame) * work.others;
    for (uint32_t k = threadIdx.x; k < work.others; k += kSelectThreads) {
      const uint32_t parent = work.parent[begin + k];
      if (parent != kNobody) atomicAdd(&work.size[parent], work.size[begin + k]);
    }
    __syncthreads();
  }
}

// A thread for each slot: the tokens of those before it with the same parent.
__global__ void __launch_bounds__(kThreads) siblings_kernel(FlashVidWork work) {
  const size_t slot = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (slot >= static_cast<size_t>(work.frames) * work.others) return;
  const uint32_t parent = work.parent[slot];
  if (parent == kNobody) return;
  uint32_t before = 0;
  for (size_t i = slot / work.others * work.others; i < slot; ++i) {
    if (work.parent[i] == parent) before += work.size[i];
  }
  work.before[slot] = before;
}

struct PlaceShared {
  CountShared<kSelectThreads> before;
  ShareWholeShared<kSelectThreads> share;
};

// Lists the tokens of tracks: those of children in order, then the token itself. Lists the tokens
// that are left in each frame, which no other merged with or which have none to merge with.
__device__ inline void PlaceTracks(const FlashVidWork& work, uint32_t first, uint32_t length,
                                   PlaceShared& shared) {
  size_t listed = static_cast<size_t>(first) * work.others;
  for (uint32_t frame = first; frame < first + length; ++frame) {
    uint32_t left = 0;
    __syncthreads();
    for (uint32_t begin = 0; begin < work.others; begin += kSelectThreads) {
      const uint32_t k = begin + threadIdx.x;
      const bool there = k < work.others;
      const size_t slot = static_cast<size_t>(frame) * work.others + (there ? k : 0);
      const uint32_t parent = work.parent[slot];
      const bool root = there && parent == kNobody;
      uint32_t total = 0;
      const uint32_t place = left + CountBefore(root, shared.before, &total);
      left += total;
      size_t offset = listed + SumBefore(root ? work.size[slot] : 0, shared.before, &total);
      listed += total;
      if (!there) continue;
      if (!root) offset = work.offset[parent] + work.before[slot];
      work.offset[slot] = static_cast<uint32_t>(offset);
      work.members[offset + work.size[slot] - 1] = work.other[slot];
      if (!root) continue;
      work.left_token[static_cast<size_t>(frame) * work.room + place] = work.other[slot];
      work.left_slot[static_cast<size_t>(frame) * work.room + place] = static_cast<uint32_t>(slot);
    }
    if (threadIdx.x == 0) work.left_of[frame] = left;
  }
  __syncthreads();
}

// In a segment of one frame all its tokens are left where those that were picked are clustered.
__device__ inline void LeavePicked(const FlashVidWork& work, uint32_t frame, PlaceShared& shared) {
  const size_t first_token = static_cast<size_t>(frame) * work.patches;
  const size_t first_left = static_cast<size_t>(frame) * work.room;
  uint32_t others = 0;
  for (uint32_t begin = 0; begin < work.patches; begin += kSelectThreads) {
    const uint32_t patch = begin + threadIdx.x;
    const bool there = patch < work.patches;
    const bool other = there && work.is_picked[first_token + patch] == 0;
    uint32_t total = 0;
    const uint32_t k = others + CountBefore(other, shared.before, &total);
    others += total;
    if (!there) continue;
    work.left_token[first_left + patch] = static_cast<int32_t>(first_token + patch);
    work.left_slot[first_left + patch] = other ? frame * work.others + k : kNobody;
  }
  if (threadIdx.x == 0) work.left_of[frame] = work.patches;
  __syncthreads();
}

// A block for each frame that begins a segment: its tracks, what is left of each frame, and how
// many clusters that becomes, in proportion, as the CPU's CountClusters.
__global__ void __launch_bounds__(kSelectThreads) place_tracks_kernel(FlashVidWork work) {
  LV_SHARED(PlaceShared, shared);
  const uint32_t first = blockIdx.x;
  const uint32_t length = work.lengths[first];
  if (length == 0) return;
  PlaceTracks(work, first, length, shared);
  if (length == 1 && work.cluster_picked) LeavePicked(work, first, shared);
  const uint32_t* const left_of = work.left_of + first;
  uint32_t* const clusters_of = work.clusters_of + first;
  uint32_t left = 0;
  for (uint32_t begin = 0; begin < length; begin += kSelectThreads) {
    const uint32_t i = begin + threadIdx.x;
    uint32_t total = 0;
    SumBefore(i < length ? left_of[i] : 0, shared.before, &total);
    left += total;
  }
  const uint64_t wanted = static_cast<uint64_t>(work.budget - work.picked) * length;
  const double share =
      left > 0 ? __ddiv_rn(static_cast<double>(wanted), static_cast<double>(left)) : 0.0;
  const auto own = [&](uint32_t i) { return __dmul_rn(static_cast<double>(left_of[i]), share); };
  if (work.exact_budget && share < 1) {
    ShareWhole<kSelectThreads>(
        length, wanted, own, [&](uint32_t i) { return left_of[i]; }, clusters_of, shared.share);
    return;
  }
  for (uint32_t i = threadIdx.x; i < length; i += kSelectThreads) {
    clusters_of[i] = share < 1 ? static_cast<uint32_t>(ceil(own(i))) : left_of[i];
  }
}

// A block has something that is left of a frame, and V columns for each thread: the mean of its
// track.
template <typename T, int V>
__global__ void __launch_bounds__(kAnchorThreads) track_means_kernel(FlashVidWork work) {
  const uint32_t columns = kAnchorThreads * V;
  const uint32_t tiles = (work.row_stride + columns - 1) / columns;
  const size_t index = blockIdx.x / tiles;
  const size_t frame = index / work.room;
  if (index % work.room >= work.left_of[frame]) return;
  const uint32_t column = blockIdx.x % tiles * columns + threadIdx.x * V;
  if (column >= work.row_stride) return;
  float* const to = work.rows + index * work.row_stride + column;
  if (column >= work.width) {
    for (int v = 0; v < V; ++v) to[v] = 0;
    return;
  }
  const uint32_t slot = work.left_slot[index];
  const int32_t* members = work.left_token + index;
  uint32_t count = 1;
  if (slot != kNobody) {
    members = work.members + work.offset[slot];
    count = work.size[slot];
  }
  double sum[V] = {};
  AddRows<T, V>(
      static_cast<const T*>(work.tokens) + column, work.width, count,
      [&](uint32_t i) { return static_cast<uint32_t>(members[i]); }, sum);
#pragma unroll
  for (int v = 0; v < V; ++v) {
    to[v] = __double2float_rn(__ddiv_rn(sum[v], static_cast<double>(count)));
  }
}

}  // namespace

lv_status LaunchTracks(lv_type type, const FlashVidWork& work, cudaStream_t stream) {
  LV_TRY(Launch(join_tracks_kernel, work.frames, kSelectThreads, 0, stream, work));
  const size_t slots = static_cast<size_t>(work.frames) * work.others;
  LV_TRY(Launch(siblings_kernel, CeilDiv(slots, kThreads), kThreads, 0, stream, work));
  LV_TRY(Launch(place_tracks_kernel, work.frames, kSelectThreads, 0, stream, work));
  return ForType(type, [&](auto value) {
    using T = decltype(value);
    return ForVector<T>(work.tokens, nullptr, work.width, [&](auto vector) {
      constexpr int kV = decltype(vector)::value;
      const size_t tiles = CeilDiv(work.row_stride, kAnchorThreads * kV);
      return Launch(track_means_kernel<T, kV>, static_cast<size_t>(work.frames) * work.room * tiles,
                    kAnchorThreads, 0, stream, work);
    });
  });
}

}  // namespace longvlm::cuda
