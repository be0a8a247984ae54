// How similar tokens are to tokens of the frame before.
#include "dot_rows.cuh"
#include "reducers.cuh"
#include "tuning.h"

namespace longvlm::cuda {
namespace {

constexpr uint32_t kPairsOfBlock = kDotThreads / kDotLanes;

template <typename T>
__global__ void __launch_bounds__(kDotThreads) same_place_kernel(SamePlaceWork work) {
  const size_t given = static_cast<size_t>(blockIdx.x) * kPairsOfBlock + threadIdx.x / kDotLanes;
  // Pairs beyond the last take part in the exchanges of a warp.
  const size_t pair = Smaller(given, work.pairs - 1);
  const size_t next = pair + work.patches;
  const T* const before = static_cast<const T*>(work.tokens) + pair * work.width;
  const T* const now = static_cast<const T*>(work.tokens) + next * work.width;
  const DotSums sums = DotRows(before, now, static_cast<uint32_t>(work.width));
  if (threadIdx.x % kDotLanes != 0 || given != pair) return;
  if (!IsFinite(sums.aa)) ReportRow(before, work.width, pair * work.width, work.report);
  if (!IsFinite(sums.bb)) ReportRow(now, work.width, next * work.width, work.report);
  const double squares = __dmul_rn(sums.aa, sums.bb);
  const float cosine =
      squares > 0 ? __double2float_rn(__ddiv_rn(sums.ab, __dsqrt_rn(squares))) : 0.0f;
  work.out[pair] = work.change ? __fadd_rn(1.0f, -cosine) : cosine;
}

// Plan of a workspace.
struct Plan {
  float* rows;
  MatchKey* keys;
  size_t bytes;
};

Plan Divide(const lv_temporal_similarity_args& args, void* workspace) {
  Arena arena(workspace);
  Plan plan = {};
  if (args.best != 0) {
    plan.rows = arena.Take<float>(args.frames * args.patches * RowStride(args.channels));
    plan.keys = arena.Take<MatchKey>((args.frames - 1) * args.patches);
  }
  plan.bytes = arena.bytes();
  return plan;
}

lv_status MatchBest(const lv_temporal_similarity_args& args, const Plan& plan,
                    cudaStream_t stream) {
  const size_t tokens = args.frames * args.patches;
  const UnitRowsWork unit = {args.tokens,   nullptr, tokens,    tokens,
                             args.channels, true,    plan.rows, args.report};
  LV_TRY(LaunchUnitRows(args.type, unit, stream));
  int32_t multiprocessors = 0;
  LV_TRY(Multiprocessors(args.device, &multiprocessors));
  const size_t row_stride = RowStride(args.channels);
  const BestMatchWork match = {plan.rows + args.patches * row_stride,
                               plan.rows,
                               args.patches,
                               args.patches,
                               static_cast<uint32_t>(args.patches),
                               static_cast<uint32_t>(args.patches),
                               args.frames - 1,
                               static_cast<uint32_t>(row_stride),
                               plan.keys,
                               args.out_cosines,
                               args.out_matches};
  return LaunchBestMatch(match, multiprocessors, stream);
}

}  // namespace

lv_status LaunchSamePlace(lv_type type, const SamePlaceWork& work, cudaStream_t stream) {
  return ForType(type, [&](auto value) {
    return Launch(same_place_kernel<decltype(value)>, CeilDiv(work.pairs, kPairsOfBlock),
                  kDotThreads, 0, stream, work);
  });
}

}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_temporal_similarity(const lv_temporal_similarity_args* args, void* workspace,
                                 size_t* workspace_bytes, lv_stream stream) {
  LV_EXPECT(args != nullptr && workspace_bytes != nullptr,
            "Expected arguments and workspace_bytes but received null");
  LV_TRY(CheckType(args->type));
  LV_TRY(CheckTokens(args->frames, args->patches, args->channels));
  LV_EXPECT(args->frames >= 2, "Expected at least 2 frames but received 1");
  const Plan sizes = Divide(*args, nullptr);
  if (workspace == nullptr) {
    *workspace_bytes = sizes.bytes;
    return LV_OK;
  }
  LV_TRY(CheckWorkspace(workspace, *workspace_bytes, sizes.bytes));
  LV_EXPECT(args->tokens != nullptr && args->out_cosines != nullptr && args->report != nullptr &&
                (args->best == 0 || args->out_matches != nullptr),
            "Expected device memory for tokens, outputs and report but received null");
  LV_ON_DEVICE(args->device);
  LV_TRY(ClearReport(args->report, ToCuda(stream)));
  if (args->best != 0) return MatchBest(*args, Divide(*args, workspace), ToCuda(stream));
  const SamePlaceWork work = {
      args->tokens, args->patches,     args->channels, (args->frames - 1) * args->patches,
      false,        args->out_cosines, args->report};
  return LaunchSamePlace(args->type, work, ToCuda(stream));
}
