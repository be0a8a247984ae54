// FlashVID's picked tokens, and what is written of each frame.
#include "block_sums.cuh"
#include "flash_vid.cuh"
#include "row_chain.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr int kThreads = 256;
// Attention is scaled by it before distances are, as in the reference.
constexpr float kAttentionScale = 1e6f;

// One block for each frame: marks its picked tokens, and lists the others.
__global__ void __launch_bounds__(kSelectThreads) divide_frames_kernel(FlashVidWork work) {
  LV_SHARED(CountShared<kSelectThreads>, shared);
  const size_t frame = blockIdx.x;
  uint8_t* const is_picked = work.is_picked + frame * work.patches;
  for (uint32_t i = threadIdx.x; i < work.picked; i += kSelectThreads) {
    is_picked[work.picks[frame * work.picked + i]] = 1;
  }
  __syncthreads();
  uint32_t listed = 0;
  for (uint32_t first = 0; first < work.patches; first += kSelectThreads) {
    const uint32_t patch = first + threadIdx.x;
    const bool other = patch < work.patches && is_picked[patch] == 0;
    uint32_t count = 0;
    const uint32_t place = listed + CountBefore(other, shared, &count);
    if (other && place < work.others) {
      work.other[frame * work.others + place] = static_cast<int32_t>(frame * work.patches + patch);
    }
    listed += count;
  }
}

__global__ void __launch_bounds__(kThreads) scale_attention_kernel(FlashVidWork work) {
  const size_t i = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= static_cast<size_t>(work.frames) * work.patches) return;
  work.weights[i] = __fmul_rn(work.attention[i], kAttentionScale);
}

// One block: where each frame's tokens are written, and the counts.
__global__ void __launch_bounds__(kSelectThreads) count_frames_kernel(FlashVidWork work) {
  LV_SHARED(CountShared<kSelectThreads>, shared);
  uint32_t kept = 0;
  uint32_t merged = 0;
  uint32_t clustered = 0;
  for (uint32_t first = 0; first < work.frames; first += kSelectThreads) {
    const uint32_t frame = first + threadIdx.x;
    const bool there = frame < work.frames;
    const uint32_t clusters = there ? work.clusters_of[frame] : 0;
    uint32_t total = 0;
    const uint32_t before = SumBefore(there ? work.picked + clusters : 0, shared, &total);
    if (there) work.first_out[frame] = kept + before;
    kept += total;
    SumBefore(there ? work.merged_of[frame] : 0, shared, &total);
    merged += total;
    SumBefore(clusters > 0 ? work.left_of[frame] - clusters : 0, shared, &total);
    clustered += total;
  }
  if (threadIdx.x != 0) return;
  work.out_counts[0] = static_cast<int32_t>(kept);
  work.out_counts[1] = static_cast<int32_t>(merged);
  work.out_counts[2] = static_cast<int32_t>(clustered);
}

// One block for each frame: its picked tokens and its clusters by the tokens at which they stand;
// of both at one token the picked one is first.
__global__ void __launch_bounds__(kSelectThreads) order_frames_kernel(FlashVidWork work) {
  LV_SHARED(CountShared<kSelectThreads>, shared);
  const size_t frame = blockIdx.x;
  const size_t first_token = frame * work.patches;
  int32_t* const centre_at = work.centre_at + first_token;
  for (uint32_t i = threadIdx.x; i < work.clusters_of[frame]; i += kSelectThreads) {
    const int32_t centre = work.centres[frame * work.room + i];
    const int32_t token = work.left_token[frame * work.room + static_cast<uint32_t>(centre)];
    centre_at[static_cast<size_t>(token) - first_token] = static_cast<int32_t>(i);
  }
  __syncthreads();
  uint32_t to = work.first_out[frame];
  for (uint32_t first = 0; first < work.patches; first += kSelectThreads) {
    const uint32_t patch = first + threadIdx.x;
    const bool there = patch < work.patches;
    const bool picked = there && work.is_picked[first_token + patch] != 0;
    const int32_t cluster = there ? centre_at[patch] : -1;
    uint32_t total = 0;
    uint32_t place = to + SumBefore((picked ? 1u : 0u) + (cluster >= 0 ? 1u : 0u), shared, &total);
    const auto token = static_cast<int32_t>(first_token + patch);
    if (picked) {
      work.out_indices[place] = token;
      work.out_sizes[place] = 1;
      work.cluster_out[place] = -1;
      ++place;
    }
    if (cluster >= 0) {
      work.out_indices[place] = token;
      work.cluster_out[place] = cluster;
    }
    to += total;
  }
}

struct WriteShared {
  CountShared<kAnchorThreads> before;
  uint32_t members[kAnchorThreads];
  uint32_t stands_for;
};

// A block has a row of the result and a column for each thread: a picked token, or the mean of a
// cluster's rows, which it finds among what is left of the frame.
template <typename T>
__global__ void __launch_bounds__(kAnchorThreads) write_frames_kernel(FlashVidWork work) {
  LV_SHARED(WriteShared, shared);
  const uint32_t tiles = (work.width + kAnchorThreads - 1) / kAnchorThreads;
  const size_t to = blockIdx.x / tiles;
  if (static_cast<int32_t>(to) >= work.out_counts[0]) return;
  const uint32_t column = blockIdx.x % tiles * kAnchorThreads + threadIdx.x;
  const bool writes = column < work.width;
  const auto token = static_cast<size_t>(work.out_indices[to]);
  const int32_t cluster = work.cluster_out[to];
  T* const out = static_cast<T*>(work.out) + to * work.width + column;
  if (cluster < 0) {
    if (writes) *out = static_cast<const T*>(work.tokens)[token * work.width + column];
    return;
  }
  const size_t first_left = token / work.patches * work.room;
  const uint32_t left = work.left_of[token / work.patches];
  const float* const rows = work.rows + first_left * work.row_stride + (writes ? column : 0);
  if (threadIdx.x == 0) shared.stands_for = 0;
  double sum[1] = {};
  uint32_t all = 0;
  for (uint32_t first = 0; first < left; first += kAnchorThreads) {
    const uint32_t i = first + threadIdx.x;
    const bool own = i < left && work.in_clusters[first_left + i] == cluster;
    uint32_t members = 0;
    const uint32_t place = CountBefore(own, shared.before, &members);
    if (own) {
      const uint32_t slot = work.left_slot[first_left + i];
      shared.members[place] = i;
      atomicAdd(&shared.stands_for, slot == kNobody ? 1u : work.size[slot]);
    }
    __syncthreads();
    AddRows<float, 1>(
        rows, work.row_stride, members, [&](uint32_t m) { return shared.members[m]; }, sum);
    all += members;
    __syncthreads();
  }
  if (blockIdx.x % tiles == 0 && threadIdx.x == 0) {
    work.out_sizes[to] = static_cast<float>(shared.stands_for);
  }
  if (writes) *out = Quotients<T, 1>(sum, static_cast<double>(all)).value[0];
}

}  // namespace

lv_status LaunchScaledAttention(const FlashVidWork& work, cudaStream_t stream) {
  if (work.attention == nullptr) return LV_OK;
  const size_t tokens = static_cast<size_t>(work.frames) * work.patches;
  return Launch(scale_attention_kernel, CeilDiv(tokens, kThreads), kThreads, 0, stream, work);
}

lv_status LaunchDivideFrames(const FlashVidWork& work, cudaStream_t stream) {
  const size_t tokens = static_cast<size_t>(work.frames) * work.patches;
  LV_CUDA(cudaMemsetAsync(work.is_picked, 0, tokens, stream));
  return Launch(divide_frames_kernel, work.frames, kSelectThreads, 0, stream, work);
}

lv_status LaunchWriteFrames(lv_type type, const FlashVidWork& work, cudaStream_t stream) {
  const size_t tokens = static_cast<size_t>(work.frames) * work.patches;
  LV_CUDA(cudaMemsetAsync(work.centre_at, 0xff, tokens * sizeof(int32_t), stream));
  LV_TRY(Launch(count_frames_kernel, 1, kSelectThreads, 0, stream, work));
  LV_TRY(Launch(order_frames_kernel, work.frames, kSelectThreads, 0, stream, work));
  const size_t bound = static_cast<size_t>(work.frames) * (work.budget + size_t{1});
  return ForType(type, [&](auto value) {
    return Launch(write_frames_kernel<decltype(value)>, bound * CeilDiv(work.width, kAnchorThreads),
                  kAnchorThreads, 0, stream, work);
  });
}

}  // namespace longvlm::cuda
