// Cuts a video where neighbouring frames are unlike.
#include <algorithm>

#include "block_sums.cuh"
#include "dot_rows.cuh"
#include "key_of_rank.cuh"
#include "reducers.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr uint32_t kPairsOfBlock = kDotThreads / kDotLanes;

__global__ void __launch_bounds__(kDotThreads) neighbour_cosines_kernel(SegmentWork work) {
  const uint32_t given = blockIdx.x * kPairsOfBlock + threadIdx.x / kDotLanes;
  // Pairs beyond the last take part in the exchanges of a warp; a single frame is looked at, too.
  const uint32_t frame = Smaller(given, work.frames < 2 ? 0 : work.frames - 2);
  const uint32_t next = Smaller(frame + 1, work.frames - 1);
  const float* const row = work.features + static_cast<size_t>(frame) * work.width;
  const float* const other = work.features + static_cast<size_t>(next) * work.width;
  const DotSums sums = DotRows(row, other, work.width);
  if (threadIdx.x % kDotLanes != 0 || given != frame) return;
  if (work.checks && !IsFinite(sums.aa)) {
    ReportRow(row, work.width, static_cast<size_t>(frame) * work.width, work.report);
  }
  if (work.checks && !IsFinite(sums.bb)) {
    ReportRow(other, work.width, static_cast<size_t>(next) * work.width, work.report);
  }
  if (next == frame) return;
  const double length = __dmul_rn(__dsqrt_rn(sums.aa), __dsqrt_rn(sums.bb));
  const float cosine = length > 0 ? __double2float_rn(__ddiv_rn(sums.ab, length)) : 0.0f;
  work.falling[frame] = -cosine;
  if (work.out_cosines != nullptr) work.out_cosines[frame] = cosine;
}

struct SegmentShared {
  RankShared rank;
  CountShared<kSelectThreads> before;
  uint32_t below;
};

// One block, as the CPU's SegmentFrames: the cuts are where cosines are below the threshold, and
// then at the lowest others.
__global__ void __launch_bounds__(kSelectThreads) segment_frames_kernel(SegmentWork work) {
  LV_SHARED(SegmentShared, shared);
  const uint32_t pairs = work.frames - 1;
  if (threadIdx.x == 0) {
    shared.below = 0;
    work.out_starts[0] = 1;
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < pairs; i += kSelectThreads) {
    if (-work.falling[i] < work.threshold) atomicAdd(&shared.below, 1u);
  }
  __syncthreads();
  const uint32_t wanted = Smaller(pairs, work.segments - 1);
  const uint32_t cuts = wanted < shared.below ? shared.below : wanted;
  RankedKey last = {0, 0};
  if (cuts > 0) last = KeyOfRank<kSelectThreads>(work.falling, pairs, cuts, shared.rank);
  uint32_t equals_before = 0;
  for (uint32_t first = 0; first < pairs; first += kSelectThreads) {
    const uint32_t i = first + threadIdx.x;
    const uint32_t key = i < pairs ? FallingKey(work.falling[i]) : 0xffffffffu;
    const bool equal = cuts > 0 && i < pairs && key == last.key;
    uint32_t count = 0;
    const uint32_t place = equals_before + CountBefore(equal, shared.before, &count);
    equals_before += count;
    if (i >= pairs) continue;
    work.out_starts[i + 1] = key < last.key || (equal && place < last.equals) ? 1 : 0;
  }
  if (work.lengths == nullptr) return;
  __syncthreads();
  for (uint32_t frame = threadIdx.x; frame < work.frames; frame += kSelectThreads) {
    uint32_t end = frame + 1;
    while (end < work.frames && work.out_starts[end] == 0) ++end;
    work.lengths[frame] = work.out_starts[frame] != 0 ? end - frame : 0;
  }
}

}  // namespace

lv_status LaunchSegments(const SegmentWork& work, cudaStream_t stream) {
  const size_t pairs = std::max<size_t>(work.frames - size_t{1}, 1);
  LV_TRY(Launch(neighbour_cosines_kernel, CeilDiv(pairs, kPairsOfBlock), kDotThreads, 0, stream,
                work));
  return Launch(segment_frames_kernel, 1, kSelectThreads, 0, stream, work);
}

}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_segment_frames(const lv_segment_frames_args* args, void* workspace,
                            size_t* workspace_bytes, lv_stream stream) {
  LV_EXPECT(args != nullptr && workspace_bytes != nullptr,
            "Expected arguments and workspace_bytes but received null");
  LV_TRY(CheckTokens(1, args->frames, args->channels));
  LV_EXPECT(args->channels <= kMaxIndex, "Expected at most 2^31 - 1 channels but received %llu",
            static_cast<unsigned long long>(args->channels));
  LV_EXPECT(args->segments >= 1, "Expected at least 1 for segments but received 0");
  Arena arena(workspace);
  float* const falling = arena.Take<float>(args->frames);
  if (workspace == nullptr) {
    *workspace_bytes = arena.bytes();
    return LV_OK;
  }
  LV_TRY(CheckWorkspace(workspace, *workspace_bytes, arena.bytes()));
  LV_EXPECT(args->features != nullptr && args->out_starts != nullptr && args->report != nullptr &&
                (args->frames == 1 || args->out_cosines != nullptr),
            "Expected device memory for features, outputs and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  const SegmentWork work = {args->features,
                            static_cast<uint32_t>(args->frames),
                            static_cast<uint32_t>(args->channels),
                            args->threshold,
                            static_cast<uint32_t>(std::min<uint64_t>(args->segments, args->frames)),
                            true,
                            falling,
                            args->out_cosines,
                            args->out_starts,
                            nullptr,
                            args->report};
  return LaunchSegments(work, ToCuda(stream));
}
