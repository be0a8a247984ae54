// EVS: the first frame, and the tokens that changed most since the frame before.
#include "reducers.cuh"

namespace longvlm::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) first_frame_kernel(int32_t* indices, uint32_t patches) {
  const uint32_t i = blockIdx.x * kThreads + threadIdx.x;
  if (i < patches) indices[i] = static_cast<int32_t>(i);
}

// Indices of the tokens to keep, ascending.
lv_status Pick(const lv_evs_args& args, float* changes, cudaStream_t stream) {
  LV_TRY(Launch(first_frame_kernel, CeilDiv(args.patches, kThreads), kThreads, 0, stream,
                args.out_indices, static_cast<uint32_t>(args.patches)));
  if (args.frames == 1) return LV_OK;
  const size_t pairs = (args.frames - 1) * args.patches;
  const SamePlaceWork compare = {args.tokens, args.patches, args.channels, pairs,
                                 true,        changes,      args.report};
  LV_TRY(LaunchSamePlace(args.type, compare, stream));
  const size_t others = args.total - args.patches;
  if (others == 0) return LV_OK;
  const SelectWork select = {changes,
                             1,
                             pairs,
                             nullptr,
                             static_cast<int32_t>(others),
                             others,
                             static_cast<int32_t>(args.patches),
                             args.out_indices + args.patches,
                             false,
                             args.report};
  return LaunchSelect(select, stream);
}

}  // namespace
}  // namespace longvlm::cuda

using namespace longvlm::cuda;

lv_status lv_evs(const lv_evs_args* args, void* workspace, size_t* workspace_bytes,
                 lv_stream stream) {
  LV_EXPECT(args != nullptr && workspace_bytes != nullptr,
            "Expected arguments and workspace_bytes but received null");
  LV_TRY(CheckType(args->type));
  LV_TRY(CheckTokens(args->frames, args->patches, args->channels));
  const uint64_t tokens = args->frames * args->patches;
  LV_EXPECT(args->total >= args->patches && args->total <= tokens,
            "Expected between %llu and %llu for total but received %llu",
            static_cast<unsigned long long>(args->patches), static_cast<unsigned long long>(tokens),
            static_cast<unsigned long long>(args->total));
  Arena arena(workspace);
  float* const changes = arena.Take<float>((args->frames - 1) * args->patches);
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
  LV_TRY(Pick(*args, changes, ToCuda(stream)));
  const GatherWork gather = {args->tokens,   args->out_indices, args->total, tokens,
                             args->channels, args->out_tokens,  args->report};
  return LaunchGather(args->type, gather, ToCuda(stream));
}
