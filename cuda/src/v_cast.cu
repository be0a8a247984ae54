// V-CAST: the tokens of each frame that stand out, more of them where the video turns.
#include "dot_rows.cuh"
#include "reducers.cuh"
#include "serial_sums.cuh"
#include "share_budget.cuh"
#include "softmax.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

// Lengths below it count as it, as in the reference.
constexpr double kEpsilon = 1e-6;
constexpr uint32_t kTokensOfBlock = kDotThreads / kDotLanes;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct VCastWork {
  const void* tokens;
  uint32_t frames, patches, width;
  double temperature;
  float* means;           // [frames, width]
  float* units;           // [frames, width], the means scaled to length 1
  double* lengths;        // [frames], of the means
  double* squares;        // [frames], of the steps from mean to mean
  double* turns;          // [frames], products of a step with the one before
  double* token_lengths;  // [frames, patches]
  double* angles;         // [frames, patches]
  float* scores;          // [frames, patches]
  BudgetWork budget;
  lv_report* report;
};

__device__ inline double Unit(const VCastWork& work, uint32_t frame, uint32_t k) {
  return __ddiv_rn(static_cast<double>(work.means[static_cast<size_t>(frame) * work.width + k]),
                   work.lengths[frame]);
}

// The step to a frame's mean, from 0 to the first.
__device__ inline double Step(const VCastWork& work, uint32_t frame, uint32_t k) {
  const double before = frame == 0 ? 0 : Unit(work, frame - 1, k);
  return __dadd_rn(Unit(work, frame, k), -before);
}

// One block for each frame.
__global__ void __launch_bounds__(kTurnThreads) mean_lengths_kernel(VCastWork work) {
  LV_SHARED(SerialShared<1>, shared);
  const float* const mean = work.means + static_cast<size_t>(blockIdx.x) * work.width;
  SerialSums<1>(work.width, shared, [&](uint32_t k, int) {
    const double value = static_cast<double>(mean[k]);
    return __dmul_rn(value, value);
  });
  const double length = AtLeast(__dsqrt_rn(shared.sum[0]), kEpsilon);
  if (threadIdx.x == 0) work.lengths[blockIdx.x] = length;
  float* const unit = work.units + static_cast<size_t>(blockIdx.x) * work.width;
  for (uint32_t k = threadIdx.x; k < work.width; k += kTurnThreads) {
    unit[k] = __double2float_rn(__ddiv_rn(static_cast<double>(mean[k]), length));
  }
}

__global__ void __launch_bounds__(kTurnThreads) turns_kernel(VCastWork work) {
  LV_SHARED(SerialShared<2>, shared);
  const uint32_t frame = blockIdx.x;
  SerialSums<2>(work.width, shared, [&](uint32_t k, int i) {
    const double step = Step(work, frame, k);
    return __dmul_rn(step, i == 0 || frame == 0 ? step : Step(work, frame - 1, k));
  });
  if (threadIdx.x != 0) return;
  work.squares[frame] = shared.sum[0];
  work.turns[frame] = shared.sum[1];
}

struct BudgetsShared {
  SoftmaxShared softmax;
  BudgetShared budget;
};

// How much the path of the means turns at a frame: 1 at both ends.
__device__ inline double Curvature(const VCastWork& work, uint32_t frame) {
  if (frame == 0 || frame + 1 >= work.frames) return 1;
  const double lengths = __dmul_rn(AtLeast(__dsqrt_rn(work.squares[frame + 1]), kEpsilon),
                                   AtLeast(__dsqrt_rn(work.squares[frame]), kEpsilon));
  return __dadd_rn(1.0, -__ddiv_rn(work.turns[frame + 1], lengths));
}

// One block: softmax(curvature / temperature), and the frames' budgets by it.
__global__ void __launch_bounds__(kTurnThreads) budgets_kernel(VCastWork work) {
  LV_SHARED(BudgetsShared, shared);
  double* const weights = work.budget.weights;
  for (uint32_t i = threadIdx.x; i < work.frames; i += kTurnThreads)
    weights[i] = Curvature(work, i);
  Softmax(weights, work.frames, work.temperature, shared.softmax);
  ShareBudget(work.budget, shared.budget);
}

// Of each token its length, and its distance from the frame's mean by angle.
template <typename T>
__global__ void __launch_bounds__(kDotThreads) angles_kernel(VCastWork work) {
  const size_t all = static_cast<size_t>(work.frames) * work.patches;
  const size_t given = static_cast<size_t>(blockIdx.x) * kTokensOfBlock + threadIdx.x / kDotLanes;
  const size_t token = Smaller(given, all - 1);
  const T* const row = static_cast<const T*>(work.tokens) + token * work.width;
  const float* const unit = work.units + token / work.patches * work.width;
  const DotSums sums = DotRows(row, unit, work.width);
  if (threadIdx.x % kDotLanes != 0 || given != token) return;
  const double length = __dsqrt_rn(sums.aa);
  const double of_mean = AtLeast(__dsqrt_rn(sums.bb), kEpsilon);
  work.token_lengths[token] = length;
  work.angles[token] =
      __dadd_rn(1.0, -__ddiv_rn(sums.ab, __dmul_rn(AtLeast(length, kEpsilon), of_mean)));
}

struct ScoresShared {
  double shortest[kTurnThreads / kWarp];
  double longest[kTurnThreads / kWarp];
};

// One block for each frame.
__global__ void __launch_bounds__(kTurnThreads) scores_kernel(VCastWork work) {
  LV_SHARED(ScoresShared, shared);
  const size_t first = static_cast<size_t>(blockIdx.x) * work.patches;
  double shortest = kInfinity;
  double longest = -kInfinity;
  for (uint32_t i = threadIdx.x; i < work.patches; i += kTurnThreads) {
    const double length = work.token_lengths[first + i];
    shortest = length < shortest ? length : shortest;
    longest = AtLeast(length, longest);
  }
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const double other = __shfl_xor_sync(kAllLanes, shortest, distance);
    shortest = other < shortest ? other : shortest;
    longest = AtLeast(__shfl_xor_sync(kAllLanes, longest, distance), longest);
  }
  if (threadIdx.x % kWarp == 0) {
    shared.shortest[threadIdx.x / kWarp] = shortest;
    shared.longest[threadIdx.x / kWarp] = longest;
  }
  __syncthreads();
  for (int i = 0; i < kTurnThreads / kWarp; ++i) {
    shortest = shared.shortest[i] < shortest ? shared.shortest[i] : shortest;
    longest = AtLeast(shared.longest[i], longest);
  }
  const double range = __dadd_rn(__dadd_rn(longest, -shortest), kEpsilon);
  for (uint32_t i = threadIdx.x; i < work.patches; i += kTurnThreads) {
    const double place = __ddiv_rn(__dadd_rn(work.token_lengths[first + i], -shortest), range);
    work.scores[first + i] = __double2float_rn(__dadd_rn(work.angles[first + i], place));
  }
}

VCastWork Divide(const lv_v_cast_args& args, Arena& arena) {
  const size_t tokens = args.frames * args.patches;
  VCastWork work = {};
  work.tokens = args.tokens;
  work.frames = static_cast<uint32_t>(args.frames);
  work.patches = static_cast<uint32_t>(args.patches);
  work.width = static_cast<uint32_t>(args.channels);
  work.temperature = args.temperature;
  work.means = arena.Take<float>(args.frames * args.channels);
  work.units = arena.Take<float>(args.frames * args.channels);
  work.lengths = arena.Take<double>(args.frames);
  work.squares = arena.Take<double>(args.frames);
  work.turns = arena.Take<double>(args.frames);
  work.token_lengths = arena.Take<double>(tokens);
  work.angles = arena.Take<double>(tokens);
  work.scores = arena.Take<float>(tokens);
  work.budget = {work.frames,
                 args.total,
                 args.least,
                 args.patches,
                 args.leftover == LV_LEFTOVER_REFERENCE,
                 arena.Take<double>(args.frames),
                 arena.Take<double>(args.frames),
                 arena.Take<int32_t>(args.frames),
                 arena.Take<int32_t>(args.frames)};
  work.report = args.report;
  return work;
}

lv_status Check(const lv_v_cast_args& args) {
  LV_TRY(CheckType(args.type));
  LV_TRY(CheckTokens(args.frames, args.patches, args.channels));
  LV_EXPECT(args.least <= args.patches, "Expected at most %llu for least but received %llu",
            static_cast<unsigned long long>(args.patches),
            static_cast<unsigned long long>(args.least));
  const uint64_t tokens = args.frames * args.patches;
  LV_EXPECT(args.total >= 1 && args.total >= args.frames * args.least && args.total <= tokens,
            "Expected between %llu and %llu for total but received %llu",
            static_cast<unsigned long long>(args.frames * args.least),
            static_cast<unsigned long long>(tokens), static_cast<unsigned long long>(args.total));
  LV_EXPECT(args.temperature > 0, "Expected number above 0 for temperature but received %g",
            args.temperature);
  LV_EXPECT(args.leftover == LV_LEFTOVER_REMAINDER || args.leftover == LV_LEFTOVER_REFERENCE,
            "Expected LV_LEFTOVER_REMAINDER or LV_LEFTOVER_REFERENCE for leftover but received %d",
            args.leftover);
  return LV_OK;
}

lv_status Score(lv_type type, const VCastWork& work, cudaStream_t stream) {
  const FrameMeansWork means = {work.tokens, work.frames, work.patches,
                                work.width,  work.means,  work.report};
  LV_TRY(LaunchFrameMeans(type, means, stream));
  LV_TRY(Launch(mean_lengths_kernel, work.frames, kTurnThreads, 0, stream, work));
  LV_TRY(Launch(turns_kernel, work.frames, kTurnThreads, 0, stream, work));
  LV_TRY(Launch(budgets_kernel, 1, kTurnThreads, 0, stream, work));
  const size_t tokens = static_cast<size_t>(work.frames) * work.patches;
  LV_TRY(ForType(type, [&](auto value) {
    return Launch(angles_kernel<decltype(value)>, CeilDiv(tokens, kTokensOfBlock), kDotThreads, 0,
                  stream, work);
  }));
  return Launch(scores_kernel, work.frames, kTurnThreads, 0, stream, work);
}

}  // namespace
}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_v_cast(const lv_v_cast_args* args, void* workspace, size_t* workspace_bytes,
                    lv_stream stream) {
  LV_EXPECT(args != nullptr && workspace_bytes != nullptr,
            "Expected arguments and workspace_bytes but received null");
  LV_TRY(Check(*args));
  Arena arena(workspace);
  const VCastWork work = Divide(*args, arena);
  if (workspace == nullptr) {
    *workspace_bytes = arena.bytes();
    return LV_OK;
  }
  LV_TRY(CheckWorkspace(workspace, *workspace_bytes, arena.bytes()));
  LV_EXPECT(args->tokens != nullptr && args->out_tokens != nullptr &&
                args->out_indices != nullptr && args->report != nullptr,
            "Expected device memory for tokens, outputs and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  LV_TRY(Score(args->type, work, ToCuda(stream)));
  const SelectWork select = {
      work.scores, args->frames,      args->patches, work.budget.counts, 0, args->total,
      0,           args->out_indices, false,         args->report};
  LV_TRY(LaunchSelect(select, ToCuda(stream)));
  const GatherWork gather = {
      args->tokens,   args->out_indices, args->total, args->frames * args->patches,
      args->channels, args->out_tokens,  args->report};
  return LaunchGather(args->type, gather, ToCuda(stream));
}
