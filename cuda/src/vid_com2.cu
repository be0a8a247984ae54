// VidCom2: the tokens of each frame that are least like the video and the frame, more of them in
// frames that are unlike the video.
#include <algorithm>

#include "gaussian_scores.cuh"
#include "serial_sums.cuh"
#include "share_whole.cuh"
#include "softmax.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr double kTemperature = 0.01;

struct VidCom2Work {
  GaussianWork scores;
  double* scales;     // [frames], at first how unlike the video each is
  uint32_t* budgets;  // [frames]
  uint64_t total;     // 0 for the ratio
  double ratio;
  int32_t* out_count;
};

// One block for each frame: how unlike the video it is, and its tokens' scores, the likenesses'
// sum with the other sign, instead of the likeness to the frame.
__global__ void __launch_bounds__(kTurnThreads) unlike_kernel(VidCom2Work work) {
  LV_SHARED(SerialShared<1>, shared);
  const uint32_t patches = work.scores.patches;
  const float* const of_video = work.scores.of_video + static_cast<size_t>(blockIdx.x) * patches;
  float* const of_frame = work.scores.of_frame + static_cast<size_t>(blockIdx.x) * patches;
  SerialSums<1>(patches, shared, [&](uint32_t i, int) { return static_cast<double>(of_video[i]); });
  if (threadIdx.x == 0) {
    work.scales[blockIdx.x] = __ddiv_rn(-shared.sum[0], static_cast<double>(patches));
  }
  for (uint32_t i = threadIdx.x; i < patches; i += kTurnThreads) {
    of_frame[i] = -__fadd_rn(of_video[i], of_frame[i]);
  }
}

struct BudgetsShared {
  SoftmaxShared softmax;
  ShareWholeShared<kTurnThreads> share;
  unsigned long long count;
};

// One block: the frames' budgets, as the CPU's FrameBudgets.
__global__ void __launch_bounds__(kTurnThreads) frame_budgets_kernel(VidCom2Work work) {
  LV_SHARED(BudgetsShared, shared);
  const uint32_t frames = work.scores.frames;
  const uint32_t patches = work.scores.patches;
  const double all = static_cast<double>(frames);
  Softmax(work.scales, frames, kTemperature, shared.softmax);
  const auto scale = [&](uint32_t frame) {
    return __dadd_rn(__dadd_rn(1.0, work.scales[frame]), -__ddiv_rn(1.0, all));
  };
  if (work.total > 0) {
    const auto wanted = [&](uint32_t frame) {
      return __ddiv_rn(__dmul_rn(static_cast<double>(work.total), scale(frame)), all);
    };
    ShareWhole<kTurnThreads>(
        frames, work.total, wanted, [&](uint32_t) { return patches; }, work.budgets, shared.share);
  } else {
    __syncthreads();
    for (uint32_t frame = threadIdx.x; frame < frames; frame += kTurnThreads) {
      const double part = __dmul_rn(work.ratio, scale(frame));
      // Of halves the even number. What is not a number is 1.
      const double tokens = rint(__dmul_rn(part < 1 ? part : 1.0, static_cast<double>(patches)));
      work.budgets[frame] = tokens > 1 ? static_cast<uint32_t>(tokens) : 1;
    }
  }
  if (threadIdx.x == 0) shared.count = 0;
  __syncthreads();
  for (uint32_t frame = threadIdx.x; frame < frames; frame += kTurnThreads) {
    atomicAdd(&shared.count, static_cast<unsigned long long>(work.budgets[frame]));
  }
  __syncthreads();
  if (threadIdx.x == 0) *work.out_count = static_cast<int32_t>(shared.count);
}

// Room for the tokens that are kept.
uint64_t BoundOf(const lv_vid_com2_args& args) {
  if (args.total > 0) return args.total;
  const uint64_t all = args.frames * args.patches;
  const auto share = static_cast<uint64_t>(static_cast<double>(all) * args.ratio);
  return std::min(all, share + args.frames + 1);
}

VidCom2Work TakeMemory(const lv_vid_com2_args& args, Arena& arena) {
  const size_t tokens = args.frames * args.patches;
  VidCom2Work work = {};
  work.scores = TakeGaussian(args.frames, args.patches, args.channels, arena);
  work.scores.tokens = args.tokens;
  work.scores.of_video = arena.Take<float>(tokens);
  work.scores.of_frame = arena.Take<float>(tokens);
  work.scores.report = args.report;
  work.scales = arena.Take<double>(args.frames);
  work.budgets = arena.Take<uint32_t>(args.frames);
  work.total = args.total;
  work.ratio = args.ratio;
  work.out_count = args.out_count;
  return work;
}

lv_status Check(const lv_vid_com2_args& args) {
  LV_TRY(CheckType(args.type));
  LV_TRY(CheckTokens(args.frames, args.patches, args.channels));
  LV_EXPECT(args.channels <= kMaxIndex, "Expected at most 2^31 - 1 channels but received %llu",
            static_cast<unsigned long long>(args.channels));
  const uint64_t tokens = args.frames * args.patches;
  LV_EXPECT(args.total == 0 || (args.total >= args.frames && args.total <= tokens),
            "Expected 0, or between %llu and %llu for total but received %llu",
            static_cast<unsigned long long>(args.frames), static_cast<unsigned long long>(tokens),
            static_cast<unsigned long long>(args.total));
  LV_EXPECT(args.total > 0 || (args.ratio > 0 && args.ratio <= 1),
            "Expected number above 0, at most 1 for ratio but received %g", args.ratio);
  return LV_OK;
}

}  // namespace
}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_vid_com2(const lv_vid_com2_args* args, void* workspace, size_t* workspace_bytes,
                      lv_stream stream) {
  LV_EXPECT(args != nullptr && workspace_bytes != nullptr,
            "Expected arguments and workspace_bytes but received null");
  LV_TRY(Check(*args));
  Arena arena(workspace);
  const VidCom2Work work = TakeMemory(*args, arena);
  if (workspace == nullptr) {
    *workspace_bytes = arena.bytes();
    return LV_OK;
  }
  LV_TRY(CheckWorkspace(workspace, *workspace_bytes, arena.bytes()));
  LV_EXPECT(args->tokens != nullptr && args->out_tokens != nullptr &&
                args->out_indices != nullptr && args->out_count != nullptr &&
                args->report != nullptr,
            "Expected device memory for tokens, outputs and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  LV_TRY(LaunchGaussianScores(args->type, work.scores, ToCuda(stream)));
  LV_TRY(Launch(unlike_kernel, args->frames, kTurnThreads, 0, ToCuda(stream), work));
  LV_TRY(Launch(frame_budgets_kernel, 1, kTurnThreads, 0, ToCuda(stream), work));
  const uint64_t bound = BoundOf(*args);
  const SelectWork select = {work.scores.of_frame,
                             args->frames,
                             args->patches,
                             reinterpret_cast<const int32_t*>(work.budgets),
                             0,
                             bound,
                             0,
                             args->out_indices,
                             false,
                             args->report};
  LV_TRY(LaunchSelect(select, ToCuda(stream)));
  GatherWork gather = {args->tokens,   args->out_indices, bound,       args->frames * args->patches,
                       args->channels, args->out_tokens,  args->report};
  gather.fewer = args->out_count;
  return LaunchGather(args->type, gather, ToCuda(stream));
}
